"""A checkpoint as training writes it, and scripts run in this process."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hydra import compose, initialize_config_dir

import cvae.config  # noqa: F401 - registers the resolvers that the configs use
from cvae.challenge.cli import problem_from_config
from cvae.checkpoints import FORMAT, KEY
from cvae.training import build_model

ROOT = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    """What a script left: exit status, stdout and stderr."""

    status: int
    out: str
    err: str


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs ``scripts/NAME.py`` with words of a command line: ``run_script("score", "file=result.pt")``."""

    def run(name: str, *words: str) -> Done:
        path = str(ROOT / "scripts" / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *words])
        status = 0
        try:
            # as the main module: Hydra looks for the configs beside that file
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An untrained dense model in a checkpoint of its own folder ``run``."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=["model=dense", "model.hidden=[16,16]"])
    torch.manual_seed(0)
    model = build_model(cfg, problem_from_config(cfg.data).config)
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({KEY: {"format": FORMAT, "config": model.config}, "state_dict": model.state_dict()}, path)
    return path


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
