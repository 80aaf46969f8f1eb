"""The command that trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from cvae.commands.train import run


def test_a_folder_that_would_be_ignored_is_refused(shipped: Callable[..., DictConfig], tmp_path: Path) -> None:
    with pytest.raises(CompactHydraException, match=rf"run_dir is {tmp_path}, .*choose .*hydra\.run\.dir=\.\.\., or"):
        run(shipped(f"run_dir={tmp_path}"))
