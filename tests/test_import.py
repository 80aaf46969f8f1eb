"""What importing the package costs and gives."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import cvae
import cvae.api
import cvae.models

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("names", ["cvae, cvae.config", "cvae.runs.names", "cvae.commands.main"])
def test_the_package_its_configs_and_the_names_of_runs_load_without_torch(names: str) -> None:
    # what `python train.py --help` needs
    code = f"import sys, {names}; print(sorted({{'torch', 'lightning', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_model_is_there_when_asked_for() -> None:
    assert cvae.CVAE is cvae.models.CVAE


def test_the_calls_for_python_are_there_when_asked_for() -> None:
    assert (cvae.fit, cvae.Run) == (cvae.api.fit, cvae.api.Run)
    assert all(getattr(cvae, name) for name in cvae.__all__)


def test_citation_and_package_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="'cvae' has no attribute 'CVEA'"):
        cvae.CVEA  # noqa: B018
