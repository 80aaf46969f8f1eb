"""The mixture of points from the shipped experiment to pictures, measures and generated points."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from cvae import CVAE
from cvae.generation import Plan, generate
from cvae.runs.launch import run

COUNTS = tuple(f"{kind}_{cloud}" for kind in ("clusters", "modes") for cloud in ("data", "samples", "latent"))
OTHERS = ("components", "cluster_weight_error", "log_likelihood", "true_log_likelihood", "log_likelihood_gap")
PICTURES = ("points", "silhouettes", "tsne")

Shipped = Callable[..., DictConfig]


def trained(cfg: DictConfig, folder: Path) -> dict[str, float]:
    """Measures of a run."""
    run(cfg, folder)
    measures: dict[str, float] = json.loads((folder / "result.json").read_text())["measures"]
    return measures


def test_a_run_has_its_measures_and_pictures_and_can_be_used(shipped: Shipped, tmp_path: Path) -> None:
    tiny = ("trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "data.train=128", "data.test=40")
    measures = trained(shipped("experiment=mixture", *tiny, small=("~callbacks.progress",)), tmp_path)
    assert {f"test/{name}" for name in (*COUNTS, *OTHERS)} <= set(measures)
    assert {"val/weight_error", "val/outside", "test/weight_error", "val/loss", "val/kl"} <= set(measures)
    # importance sampling tightens the bound
    assert measures["test/log_likelihood"] > -measures["test/loss"]
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == set(PICTURES)
    model = CVAE.load(tmp_path / "checkpoints" / "best.ckpt")
    y = model.task.conditions([])  # type: ignore[attr-defined]
    assert generate(model, model.task, y, Plan(draws=7)).x.shape == (1, 7, 3)  # type: ignore[call-overload]
    first, second = (model.draw(y, 7, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 7, 8])
def test_components_weights_and_density_are_found(shipped: Shipped, tmp_path: Path, seed: int) -> None:
    cfg = shipped("experiment=mixture", f"seed={seed}", small=("~callbacks.progress",))
    measures = trained(cfg, tmp_path)
    for cloud in ("data", "samples"):
        assert measures[f"test/clusters_{cloud}"] == measures[f"test/modes_{cloud}"] == measures["test/components"]
    assert measures["test/weight_error"] < 0.03
    assert measures["test/cluster_weight_error"] < 0.03
    assert measures["test/outside"] < 0.02
    assert measures["test/log_likelihood_gap"] < 0.1
