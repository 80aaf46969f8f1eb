"""A checkpoint as training writes it, and commands run in this process, through their scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from cvae.models.checkpoints import FORMAT, KEY
from cvae.runs.settle import settle
from cvae.runs.train import build
from tests.conftest import Done, run_main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs ``scripts/NAME.py`` with words of a command line: ``run_script("score", "file=result.pt")``."""

    def run(name: str, *words: str) -> Done:
        return run_main(ROOT / "scripts" / f"{name}.py", words, monkeypatch, capsys)

    return run


@pytest.fixture
def save_checkpoint(tmp_path: Path) -> Callable[[DictConfig], Path]:
    """Writes the untrained model of a config to a checkpoint in its own folder ``run``."""

    def save(cfg: DictConfig) -> Path:
        model = build(settle(cfg))[1]
        path = tmp_path / "run" / "checkpoints" / "best.ckpt"
        path.parent.mkdir(parents=True)
        torch.save({KEY: {"format": FORMAT, "config": model.config}, "state_dict": model.state_dict()}, path)
        return path

    return save


@pytest.fixture
def make_checkpoint(
    shipped: Callable[..., DictConfig], save_checkpoint: Callable[[DictConfig], Path]
) -> Callable[..., Path]:
    """Writes an untrained dense model to a checkpoint, with further overrides."""

    def make(*overrides: str) -> Path:
        return save_checkpoint(shipped("model=dense", "model.hidden=[16,16]", *overrides))

    return make


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """An untrained model of y = x0 * x1."""
    return make_checkpoint()


@pytest.fixture
def vector_checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """An untrained model of y = sin(3 pi x0) + cos(3 pi x1)."""
    return make_checkpoint("data=sine_wave")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
