"""What importing the package costs and gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cvae
import cvae.models


@pytest.mark.parametrize("names", ["cvae, cvae.config", "cvae.runs.names"])
def test_the_package_its_configs_and_the_names_of_runs_load_without_torch(names: str) -> None:
    # what `python train.py --help` needs
    code = f"import sys, {names}; print(sorted({{'torch', 'lightning', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_model_is_there_when_asked_for() -> None:
    assert cvae.CVAE is cvae.models.CVAE


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="'cvae' has no attribute 'CVEA'"):
        cvae.CVEA  # noqa: B018
