"""One small training run, made once and shared."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import cvae.config  # noqa: F401 - registers the resolvers that the configs use
from cvae.training import train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the shipped dense model, trained for one epoch."""
    run = tmp_path_factory.mktemp("run")
    overrides = [
        "data.source.train=2000",
        "data.source.validation=100",
        "data.source.test=100",
        "data.evaluation.validation=2",
        "++data.evaluation.references=0",
        "model=dense",
        "trainer.max_epochs=1",
        "test=false",
        "~callbacks.progress",
        "~callbacks.figures",
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    train(cfg, run)
    return run / "checkpoints" / "best.ckpt"
