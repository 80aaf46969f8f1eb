"""A small CVAE of lines, its data, and quiet trainers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from cvae import CVAE
from cvae.data import LineTriples, Simulation
from cvae.models import Training

PROBLEM = {
    "points": 12,
    "directions": ["falling", "rising"],
    "range": [0.0, 1.0],
    "forward": ["x0 * x1"],
    "gates": {"pearson": 0.9, "rmse": 0.05},
}
CONFIG = {
    "task": {"_target_": "cvae.tasks.line_problem", **PROBLEM, "prior": "uniform"},
    "model": {
        "_target_": "cvae.networks.dense",
        "x_shape": [2, 12],
        "y_shape": [1, 12],
        "latent_dim": 2,
        "hidden": [8],
        "encoder_sees_y": True,
        "head": {
            "_target_": "cvae.networks.ParametersHead",
            "space": {
                "_target_": "cvae.tasks.Lines",
                "points": 12,
                "directions": ["falling", "rising"],
                "range": [0.0, 1.0],
                "prior": "uniform",
            },
        },
    },
    "loss": {
        "_target_": "cvae.losses.Objective",
        "likelihood": {"_target_": "cvae.losses.squared"},
        "beta": 1e-3,
        "wx": 1.0,
        "wy": 0.1,
    },
    "evaluation": {"draws": 5, "point_set": "sobol", "temperature": 1.0},
}


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)


@pytest.fixture
def config() -> dict[str, Any]:
    """The plain config of the small CVAE; free to be changed."""
    return copy.deepcopy(CONFIG)


@pytest.fixture
def make() -> Callable[..., CVAE]:
    """Makes small CVAEs, all with the same weights."""

    def build(config: dict[str, Any] = CONFIG, **parts: Any) -> CVAE:
        torch.manual_seed(0)
        return CVAE.from_config(copy.deepcopy(config), training=Training(adam), **parts)

    return build


@pytest.fixture
def data() -> LineTriples:
    return LineTriples(Simulation(40, 20, 10), batch_size=16, evaluation={"validation": 6, "test": 4}, **PROBLEM)


@pytest.fixture
def trainer(tmp_path: Any) -> Callable[..., Trainer]:
    """Makes quiet trainers that keep their files in the test's own folder."""

    def build(**options: Any) -> Trainer:
        settings = {"max_epochs": 1, "callbacks": [ModelCheckpoint(tmp_path, filename="model")]}
        return Trainer(
            accelerator="cpu", devices=1, default_root_dir=tmp_path, logger=False, num_sanity_val_steps=0,
            enable_progress_bar=False, enable_model_summary=False, **settings | options,
        )  # fmt: skip

    return build


@pytest.fixture
def trained(trainer: Any, data: LineTriples, make: Any, tmp_path: Any) -> Any:
    """A model after one epoch, and its checkpoint."""
    model = make()
    trainer().fit(model, datamodule=data)
    return model.eval(), tmp_path / "model.ckpt"
