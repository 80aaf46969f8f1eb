"""The parts of a training, and what a short one keeps."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from cvae.config import digest
from cvae.errors import UserError
from cvae.generation import Plan
from cvae.runs.continuation import versions
from cvae.runs.folder import Start
from cvae.runs.settle import settle
from cvae.runs.train import (
    build,
    build_callbacks,
    build_trainer,
    generation_plan,
    kept_checkpoint,
    quiet,
    settings_of,
    train,
)

Shipped = Callable[..., DictConfig]


def trainer_with(best: str, last: str) -> Any:
    callbacks = ModelCheckpoint(monitor="val/score"), ModelCheckpoint(monitor=None)
    for callback, path in zip(callbacks, (best, last), strict=True):
        callback.best_model_path = path
    return SimpleNamespace(checkpoint_callbacks=callbacks)


@pytest.mark.parametrize(
    ("best", "last", "kept"),
    [("best.ckpt", "last.ckpt", "best.ckpt"), ("", "last.ckpt", "last.ckpt"), ("", "", None)],
)
def test_the_best_checkpoint_is_kept_or_the_last_if_none_is_monitored(best: str, last: str, kept: str | None) -> None:
    assert kept_checkpoint(trainer_with(best, last)) == kept


def test_without_a_checkpoint_callback_nothing_is_kept() -> None:
    assert kept_checkpoint(SimpleNamespace(checkpoint_callbacks=[])) is None  # type: ignore[arg-type]


def test_what_is_measured_is_known_before_training(shipped: Shipped, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        settle(shipped("optimized_metric=val/luck"))
    known = set(re.findall(r"(?:train|val)/\w+", str(refused.value))) - {"val/luck"}
    train(settle(shipped("debug=fast_dev_run", "test=false")), tmp_path, Start("x"))
    assert set(json.loads((tmp_path / "result.json").read_text())["measures"]) == known


def test_settings_are_the_same_in_every_folder(shipped: Shipped) -> None:
    first, second = shipped("run_dir=/a"), shipped("run_dir=/b")
    assert digest(settings_of(first)) == digest(settings_of(second))
    assert digest(settings_of(first)) != digest(settings_of(shipped("run_dir=/a", "seed=1")))
    assert first.run_dir == "/a"


def test_versions_name_what_decides_a_result() -> None:
    assert set(versions()) == {"python", "cvae", "torch", "lightning", "hydra-core", "torchmetrics", "numpy"}


def test_quiet_hides_the_known_noise_and_nothing_else() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet():
            warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated", stacklevel=1)
            warnings.warn("the loss is not finite", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["the loss is not finite"]


@pytest.mark.parametrize(
    ("overrides", "kind", "latent_dim"),
    [
        ([], "GaussianCVAE", 4),
        (["data=two_birds"], "CategoricalCVAE", 256),
        (["model.latent_dim=3"], "GaussianCVAE", 3),
        (["recipe.separate=true", "+model.components=9"], "CategoricalCVAE", 9),
        (["data=lines", "data.forward=['x0*x1 + x2']", "data.directions=[falling,rising,rising]"], "GaussianCVAE", 4),
        (["data=sine_wave"], "BranchedCVAE", 4),
        (["data=vector", "data.bounds=[[0,1]]", "data.forward=['sin(4*x0)']"], "CategoricalCVAE", 256),
    ],
)
def test_a_settled_config_builds(settled: Shipped, overrides: list[str], kind: str, latent_dim: int) -> None:
    data, model = build(settled(*overrides))
    assert len(data.splits.train.x) == 64
    assert model.task is data.task
    assert (type(model.network).__name__, model.network.latent_dim) == (kind, latent_dim)


def test_the_callbacks_belong_to_the_runs_folder(settled: Shipped, tmp_path: Path) -> None:
    cfg = settled("callbacks.figures=null")
    found = build_callbacks(cfg, tmp_path / "run")
    assert len(found) == 3
    assert isinstance(found[0], ModelCheckpoint)
    assert found[0].dirpath == str(tmp_path / "run" / "checkpoints")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.devices=-1", "trainer: `devices` selected with `CPUAccelerator` should be an int > 0 (trainer."),
        ("trainer.accelerator=abacus", "trainer: You selected an invalid accelerator name: `accelerator='abacus'`"),
        ("+trainer.strategy=foo", "trainer: You selected an invalid strategy name: `strategy='foo'`"),
    ],
)
def test_a_trainer_that_is_not_to_be_had_is_a_mistake(
    shipped: Shipped, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError) as refused:
        build_trainer(shipped(override), tmp_path, [], [])
    assert str(refused.value).startswith(message)


def test_plain_draws_need_no_plan_of_their_own(settled: Shipped) -> None:
    assert generation_plan(settled()) is None
    plan = generation_plan(settled("generation=complete"))
    assert plan is not None
    assert (plan.draws, plan.candidates, plan.refine_steps) == (5, 2000, 15)
    assert generation_plan(settled("generation.oversample=4")) == Plan(draws=5, oversample=4)


def test_oversampled_draws_of_the_test_conditions_are_measured(settled: Shipped, tmp_path: Path) -> None:
    train(settled("generation.oversample=4", "logger={}", "data.evaluation.references=0"), tmp_path, Start("x"))
    measures = json.loads((tmp_path / "result.json").read_text())["measures"]
    assert {name for name in measures if name.count("/") == 2} == {
        f"test/oversample/{measure}" for measure in ("valid", "coverage", "rmse")
    }


def test_the_last_epoch_is_kept_where_the_score_stays_zero(settled: Shipped, tmp_path: Path) -> None:
    # a gate that nothing passes: the score tells no epoch from another
    recipe = ("recipe.separate=false", "recipe.y_term=false", "data.evaluation.references=0")
    cfg = settled("data.gates.rmse=1e-6", "trainer.max_epochs=3", *recipe, "logger={}", "test=false")
    train(cfg, tmp_path, Start("x"))
    result = json.loads((tmp_path / "result.json").read_text())
    kept = torch.load(tmp_path / result["checkpoint"], weights_only=True)
    assert result["measures"]["val/score"] == 0
    assert kept["epoch"] == 2


def test_a_plan_beyond_plain_draws_is_carried_out_on_the_test_conditions(settled: Shipped, tmp_path: Path) -> None:
    small = ("generation.backfill=0", "generation.candidates=50", "generation.explore=20", "logger={}")
    cfg = settled("generation=complete", *small, "data.evaluation.references=0")
    train(cfg, tmp_path, Start("x"))
    measures = json.loads((tmp_path / "result.json").read_text())["measures"]
    assert measures["test/select/valid"] >= measures["test/draw/valid"]
    assert measures["test/select/coverage"] > 0


def test_the_schedule_and_the_optimizer_are_the_config_s(settled: Shipped) -> None:
    cfg = settled("scheduler.floor=0.5", "optimizer.lr=0.25")
    _, model = build(cfg)
    assert model.training_parts is not None
    assert model.training_parts.schedule is not None
    assert model.training_parts.schedule(1.0) == instantiate(cfg.scheduler)(1.0) == 0.5
    assert model.training_parts.optimizer(model.parameters()).param_groups[0]["lr"] == 0.25
