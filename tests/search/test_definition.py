"""What a search settles and refuses before its first trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose
from omegaconf import OmegaConf

from cvae import recipe
from cvae.config import plain
from cvae.search.definition import DIVERGED, Constraint, define
from cvae.search.space import read_space

ROOT = Path(__file__).resolve().parents[2]
SEARCHES = {"default": "product", "separate": "two_birds"}
LR = {"optimizer.lr": {"low": 1e-4, "high": 1e-2}}


def test_every_search_is_tested() -> None:
    assert {path.stem for path in (ROOT / "conf" / "search").glob("*.yaml")} == set(SEARCHES)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_first_trial_has_the_settings_that_hold_without_a_search(name: str) -> None:
    fixed = [f"data={SEARCHES[name]}", "data.source.train=64", "data.source.validation=16", "data.source.test=16"]
    definition = define(compose("tune", [f"search={name}"]).search, fixed)
    configs = []
    for overrides in (definition.overrides(definition.first), [*fixed, f"optimized_metric={definition.keep}"]):
        cfg = compose("train", [*overrides, "run_dir=."])
        recipe.apply(cfg)
        recipe.choose_model(cfg)
        configs.append(plain(cfg))
    assert configs[0] == configs[1]
    # and each of them can be changed
    assert {entry.name for entry in definition.space.entries if not entry.when} == set(definition.first) - {
        "optimizer.lr"
    }


def test_the_shipped_spaces_have_what_a_search_is_asked_for() -> None:
    space = yaml.safe_load((ROOT / "conf" / "search" / "default.yaml").read_text())["space"]
    assert {"optimizer", "optimizer.lr", "optimizer.weight_decay", "data.batch_size", "loss.beta", "loss.wx", "loss.wy",
            "model.latent_dim", "model", "loss"} <= set(space)  # fmt: skip
    assert {"adam", "rmsprop", "sgd"} <= set(space["optimizer"]["choices"])


def test_constraints_may_point_to_the_training_config(defined: Callable[..., Any]) -> None:
    assert str(defined(overrides=("data.gates.pearson=0.7",)).constraints[0]) == "val/pearson >= 0.7"


@pytest.mark.parametrize(("metric", "mode"), [("val/coverage", "max"), ("val/rmse", "min"), ("val/loss", "min")])
def test_the_way_of_a_measure_is_known(defined: Callable[..., Any], metric: str, mode: str) -> None:
    assert defined(f"search.metric={metric}").mode == mode


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (["search.metric=val/luck"], {}, r"metric names 'val/luck', .* choose from .*val/coverage"),
        (["search.keep=val/luck"], {}, r"search.keep names 'val/luck'"),
        (["search.metric=val/mode_recall"], {}, r"search.metric names 'val/mode_recall', which is not measured"),
        ([], {"space": {"optimizer.lrr": {"low": 0.1, "high": 1.0}}}, r"space: Could not override 'optimizer.lrr'"),
        ([], {"space": {"model": {"choices": ["dense", "huge"]}}}, r"search.space: .*Could not find 'model/huge'"),
        ([], {"space": {"optimizr": {"choices": ["adam"]}}}, r"search.space: Could not override 'optimizr'"),
        ([], {"space": LR, "overrides": ("optimizer.lr=1",)}, r"optimizer.lr is in overrides and in search.space"),
        ([], {"space": {"optimizer.lr": {"low": 0.1, "high": 1.0}}}, r"present setting of optimizer.lr, 0.003, is not"),
        ([], {"space": {"optimized_metric": {"choices": ["val/valid"]}}}, r"sets optimized_metric: set search.keep"),
        ([], {"overrides": ("trainer.max_epoch=3",)}, r"overrides: Could not override 'trainer.max_epoch'"),
        ([], {"overrides": ("data.gates.rmse=-1",)}, r"data.gates.rmse is -1"),
        ([], {"overrides": ("trainer=ddp_cpu",)}, r"a trial runs in one process"),
    ],
)  # fmt: skip
def test_what_would_make_trials_fail_is_refused(
    defined: Callable[..., Any], words: list[str], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        defined(*words, **settings)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ({"val/luck": {"at_least": 1}}, r"search.constraints names 'val/luck', which is not measured"),
        ({"val/rmse": 0.1}, r"search.constraints.val/rmse is 0.1; it must be \{at_least"),
        ({"val/rmse": {"below": 0.1}}, r"it must be \{at_least"),
        ({"val/rmse": {"at_most": "low"}}, r"search.constraints.val/rmse.at_most is 'low'; it must be a number"),
    ],
)
def test_constraints_that_mean_nothing_are_refused(
    config: Callable[..., Any], constraints: dict[str, Any], message: str
) -> None:
    cfg = config()
    cfg.search.constraints = OmegaConf.create(constraints)
    with pytest.raises(ValueError, match=message):
        define(cfg.search, list(cfg.overrides))


def test_a_violation_is_a_share_of_the_bound() -> None:
    assert Constraint("val/rmse", 0.05, least=False).violation({"val/rmse": 0.06}) == pytest.approx(0.2)
    assert Constraint("val/rmse", 0.05, least=False).violation({"val/rmse": 0.05}) == 0
    assert Constraint("val/valid", 0.9, least=True).violation({"val/valid": 0.45}) == pytest.approx(0.5)
    assert Constraint("val/valid", 0.9, least=True).violation({"val/valid": 0.95}) < 0
    assert Constraint("val/kl", 0.0, least=True).violation({"val/kl": -2.0}) == 2
    assert Constraint("val/kl", 0.0, least=True).violation({"val/kl": float("nan")}) == DIVERGED


def test_a_list_is_chosen_by_its_text(defined: Callable[..., Any]) -> None:
    space = {"model": {"choices": ["dense"]}, "model.hidden": {"choices": ["[64,64]", "[256,256,256]"]}}
    definition = defined(space=space)
    assert definition.first == {"model": "dense", "model.hidden": "[256,256,256]"}
    cfg = compose("train", read_space(space).overrides({"model": "dense", "model.hidden": "[64,64]"}))
    assert cfg.model.hidden == [64, 64]
