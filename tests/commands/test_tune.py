"""The command line of the search."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_a_mistake_gives_one_message_and_leaves_nothing(work: Path, run_script: Run) -> None:
    done = run_script("tune", "study=s", "overrides=['trainer.max_epoch=3']")
    assert done.status == 1
    assert done.err.startswith("error: overrides: Could not override 'trainer.max_epoch'.")
    assert not (work / "outputs").exists()


def test_without_optuna_the_extra_is_named(work: Path, run_script: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cvae.runs.tune")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = run_script("tune")
    assert done.status == 1
    assert done.err == "error: the search needs optuna: pip install -e '.[search]'\n"
