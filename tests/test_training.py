"""The parts of a training that need no training."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from cvae import recipe
from cvae.config import digest
from cvae.data import simulate
from cvae.training import build, kept_checkpoint, measured, quiet, settings_of, train, versions


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
    assert kept_checkpoint(SimpleNamespace(checkpoint_callbacks=[])) is None


def test_a_metric_that_is_not_measured_is_refused_before_training(shipped: Any) -> None:
    with pytest.raises(ValueError, match=r"'val/luck', which is not measured; choose one of .*val/score"):
        build(shipped("optimized_metric=val/luck"))


def test_what_is_measured_is_known_before_training(
    shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("cvae.training.write_json", lambda path, content: seen.update(content))
    cfg = shipped("debug=fast_dev_run", "test=false")
    train(cfg, tmp_path)
    assert set(seen["measures"]) <= measured(build(cfg)[1])


def test_settings_are_the_same_in_every_folder(shipped: Any) -> None:
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


def test_the_last_epoch_is_kept_where_the_score_stays_zero(shipped, tmp_path):
    # a gate that nothing passes: the score tells no epoch from another
    cfg = shipped("data.gates.rmse=1e-6", "trainer.max_epochs=3", "recipe.separate=false", "recipe.y_term=false")
    train(cfg, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    kept = torch.load(tmp_path / "run" / result["checkpoint"], weights_only=True)
    assert result["measures"]["val/score"] == 0
    assert kept["epoch"] == 2


BIRDS = ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"]


def test_files_of_separate_solutions_build(shipped, problem, tmp_path):
    birds = problem(*BIRDS, pearson=0.8, rmse=0.1)
    x = birds.geometry.to_lines(birds.geometry.sample(50, torch.Generator().manual_seed(0)))
    file = tmp_path / "birds.pt"
    torch.save([(a.T.unsqueeze(0), b.T) for a, b in zip(x, birds.forward(x), strict=True)], file)
    cfg = shipped(
        "data=lines_file", "data.forward=['cos(49*x0 + 42*x1)','cos(56*x0 + 63*x1)']", small=[],
    )  # fmt: skip
    cfg.data.source.train, cfg.data.source.held_out = str(file), 10
    data, model = build(cfg)
    assert cfg.recipe.separate is True
    assert len(data.splits.train.x) == 30
    assert model.network.latent_dim == 256


def test_latent_dim_is_not_dropped_in_silence(shipped):
    _, model = build(shipped("model.latent_dim=3"))
    assert model.network.latent_dim == 3
    with pytest.raises(ValueError, match=r"model\.latent_dim is 3, but solutions are separate"):
        build(shipped("data=two_birds", "model.latent_dim=3"))


@pytest.mark.parametrize(("metric", "mode"), [("val/score", "max"), ("val/rmse", "min"), ("val/loss", "min")])
def test_the_optimized_measure_knows_its_direction(shipped, metric, mode):
    cfg = shipped(f"optimized_metric={metric}")
    build(cfg)
    assert cfg.optimized_mode == mode


@pytest.mark.parametrize(
    ("overrides", "metric"),
    [
        ([], "val/score"),
        (["data=two_birds"], "val/mode_recall"),
        (["data=two_birds", "data.evaluation.references=0"], "val/valid"),
        (["data=two_birds", "optimized_metric=val/rmse"], "val/rmse"),
        # whatever the recipe is told, what is measured follows from the problem
        (["recipe.separate=true"], "val/valid"),
        (["data=two_birds", "recipe.separate=false"], "val/mode_recall"),
    ],
)
def test_the_measure_that_epochs_are_compared_by_follows_from_the_problem(shipped, overrides, metric):
    cfg = shipped(*overrides)
    build(cfg)
    assert cfg.optimized_metric == cfg.callbacks.checkpoint.monitor == metric
    assert cfg.optimized_mode == cfg.callbacks.checkpoint.mode == ("min" if metric == "val/rmse" else "max")


def test_a_measure_that_the_problem_does_not_have_cannot_be_optimized(shipped):
    with pytest.raises(ValueError, match=r"optimized_metric is 'val/mode_recall', which is not measured"):
        build(shipped("optimized_metric=val/mode_recall"))


def test_a_temperature_that_plain_draws_would_not_have_is_refused(shipped, tmp_path):
    with pytest.raises(ValueError, match=r"generation\.temperature is 2\.0, but .* evaluation\.temperature"):
        train(shipped("generation.temperature=2.0"), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_plan_beyond_plain_draws_is_carried_out_on_the_test_conditions(shipped, tmp_path):
    cfg = shipped("generation=complete", "generation.search=0", "trainer.max_epochs=1")
    train(cfg, tmp_path / "run")
    measures = json.loads((tmp_path / "run" / "result.json").read_text())["measures"]
    assert measures["test/select/valid"] >= measures["test/draw/valid"]
    assert measures["test/select/coverage"] > 0


def test_the_recipe_looks_at_the_lines_that_a_file_shows(shipped, problem, tmp_path, monkeypatch):
    rising = problem("x0 * x1", directions=("rising", "rising"))
    x, y = simulate(rising, 64, torch.Generator().manual_seed(0))
    torch.save([(a.T.unsqueeze(0), b[0]) for a, b in zip(x, y, strict=True)], tmp_path / "triples.pt")
    seen = []
    decide = recipe.decide
    monkeypatch.setattr(recipe, "decide", lambda problem: seen.append(problem.geometry.directions) or decide(problem))
    small = ["data=lines_file", 'data.forward=["x0 * x1"]', f"data.source.train={tmp_path}/triples.pt"]
    cfg = shipped(*small, "data.source.held_out=8", small=[])
    data, model = build(cfg)
    assert seen[-1] == data.problem.geometry.directions == ("rising", "rising")
    assert list(cfg.data.directions) == ["rising", "rising"]
    assert model.problem.geometry.directions == ("rising", "rising")
