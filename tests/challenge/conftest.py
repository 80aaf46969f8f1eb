"""A checkpoint with the record of its run, as training leaves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from cvae import CVAE
from cvae.data import simulate
from cvae.files import write_json
from cvae.models.checkpoints import FORMAT, KEY
from cvae.runs.settle import settle
from cvae.runs.train import build, settings_of


@pytest.fixture
def untrained(shipped: Callable[..., DictConfig]) -> Callable[..., CVAE]:
    """Makes models with random weights that know the scale of their data: ``untrained("model=dense")``."""

    def make(*overrides: str) -> CVAE:
        model = build(settle(shipped(*overrides)))[1].eval()
        model.network.fit_scale(*simulate(model.problem, 200, torch.Generator().manual_seed(0)))
        return model

    return make


@pytest.fixture
def checkpoint(shipped: Callable[..., DictConfig], tmp_path: Path) -> Path:
    """``run/checkpoints/best.ckpt`` of a dense model, beside the ``result.json`` of its run."""
    cfg = settle(shipped("model=dense", "model.hidden=[16]"))
    model = build(cfg)[1]
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({KEY: {"format": FORMAT, "config": model.config}, "state_dict": model.state_dict()}, path)
    write_json(tmp_path / "run" / "result.json", {"config": settings_of(cfg)})
    return path
