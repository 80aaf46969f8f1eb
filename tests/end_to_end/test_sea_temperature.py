"""Sea temperatures from the shipped experiment to pictures, measures and draws for dates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from cvae import CVAE
from cvae.generation import Plan, generate
from cvae.runs.launch import run

NAMES = ("anderson_darling", "kendall_error", "energy_score")

Shipped = Callable[..., DictConfig]


def test_a_run_has_its_measures_and_pictures_and_can_be_used(shipped: Shipped, tmp_path: Path) -> None:
    tiny = ("trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "evaluation.draws=2")
    tiny += ("data.evaluation={validation: 40, test: 40}",)
    run(shipped("experiment=sea_temperature", *tiny, small=("~callbacks.progress",)), tmp_path)
    measures = json.loads((tmp_path / "result.json").read_text())["measures"]
    assert {f"{stage}/{name}" for stage in ("val", "test") for name in NAMES} <= set(measures)
    assert {f"test/{name}_training" for name in NAMES} <= set(measures)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"draws", "season", "quantiles", "dependence"}
    model = CVAE.load(tmp_path / "checkpoints" / "best.ckpt")
    y = model.task.conditions([2006.5, 2030])  # type: ignore[attr-defined]
    found = generate(model, model.task, y, Plan(draws=7))  # type: ignore[call-overload]
    assert found.x.shape == (2, 7, 6)
