"""What a settled config is made of, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import TensorDataset

from cvae.config import config_folder
from cvae.data import simulate
from cvae.errors import UserError, user_message
from cvae.inversion import gradient_alignment, has_isolated_solutions
from cvae.runs.folder import identify
from cvae.runs.settle import ALIGNED, explain, settle
from cvae.runs.train import settings_of
from cvae.tasks import Problem

Shipped = Callable[..., DictConfig]
MakeProblem = Callable[..., Problem]

BIRDS = "data=two_birds"
VECTOR = ("data=vector", "data.bounds=[[-1,1],[0,2]]", "data.forward=['x0*x1']")


def leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of all entries of nested plain data."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from leaves(entry, f"{where}[{number}]")
    else:
        yield where, value


# --- what a problem is like


@pytest.mark.parametrize(
    ("forward", "separate", "y_term"),
    [
        # smooth, and a continuum of solutions
        (["x0 * x1"], False, True),
        (["x0 + x1"], False, True),
        (["x0 / (x1 + 0.5)"], False, True),
        (["exp(2*x0*x1)"], False, True),
        (["x0 / x1"], False, True),
        (["maximum(x0 - 0.5, 0) * x1"], False, True),
        # oscillating within a guess
        (["sin(300*x0*x1)"], False, False),
        (["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"], True, False),
        (["cos(49*x0 + 63*x1)", "cos(4*x0 + 8*x1)"], True, False),
        # separate and smooth
        (["sin(5*x0 + 3*x1)", "cos(4*x0 + 8*x1)"], True, True),
        (["x0", "x1"], True, True),
        # nothing to learn from y
        (["0.3"], False, False),
    ],
)
@pytest.mark.parametrize("points", [23, 50, 200])
def test_what_a_problem_is_like(
    problem: MakeProblem, forward: list[str], separate: bool, y_term: bool, points: int
) -> None:
    found = problem(*forward, points=points)
    alignment = gradient_alignment(found)
    assert -1 <= alignment <= 1
    assert (has_isolated_solutions(found), alignment >= ALIGNED) == (separate, y_term)


@pytest.mark.parametrize(
    ("forward", "directions", "separate"),
    [(["x0 * x1 + x2"], ["falling", "rising", "rising"], False), (["sin(4*x0)"], ["falling"], True)],
)
def test_three_lines_and_one(problem: MakeProblem, forward: list[str], directions: list[str], separate: bool) -> None:
    found = problem(*forward, directions=directions)
    assert (has_isolated_solutions(found), gradient_alignment(found) >= ALIGNED) == (separate, True)


@pytest.mark.parametrize(
    ("forward", "bounds", "separate", "y_term"),
    [
        (["x0 * x1"], [[0, 1], [0, 1]], False, True),
        (["x0 * x1", "x0 + x1"], [[0, 1], [0, 1]], True, True),
        (["sin(40*x0) + cos(40*x1)"], [[-1, 1], [-1, 1]], False, False),
        (["x0 + x1 + x2"], [[0, 1], [0, 5], [-2, 2]], False, True),
    ],
)
def test_vectors(
    vector_problem: MakeProblem, forward: list[str], bounds: list[list[float]], separate: bool, y_term: bool
) -> None:
    found = vector_problem(*forward, bounds=bounds)
    assert (has_isolated_solutions(found), gradient_alignment(found) >= ALIGNED) == (separate, y_term)


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (("separate", False, 0.01), ["separate points", "recipe separate", "from nearby only", "0.01", "comes late"]),
        (("continuum", True, 0.6), ["continuum", "recipe continuum", "from afar", "0.60", "acts everywhere"]),
        (
            ("continuum", True, 0.6, 0.08),
            ["average 8 % of the prior passes", "training takes few epochs"],
        ),
        (
            ("continuum_thin", True, 0.6, 0.021),
            ["2.1 % of the prior passes", "takes more epochs"],
        ),
    ],
)
def test_a_decision_is_explained_in_one_line(decision: tuple[Any, ...], words: list[str]) -> None:
    said = explain(*decision)
    assert all(word in said for word in words)
    assert "\n" not in said


# --- the recipe


@pytest.mark.parametrize(
    ("overrides", "separate", "y_term"),
    [
        ([], False, True),
        ([BIRDS], True, False),
        ([BIRDS, "recipe.separate=false"], False, False),
        ([BIRDS, "recipe.y_term=true"], True, True),
        (["recipe.separate=true"], True, True),
        (["recipe.separate=true", "recipe.y_term=false"], True, False),
        (["data=lines", "data.forward=['sin(300*x0*x1)']"], False, False),
        ([*VECTOR], False, True),
    ],
)
def test_what_is_auto_is_found_and_what_is_said_stays(
    settled: Shipped, caplog: pytest.LogCaptureFixture, overrides: list[str], separate: bool, y_term: bool
) -> None:
    with caplog.at_level(logging.INFO, logger="cvae.runs.settle"):
        cfg = settled(*overrides)
    assert cfg.recipe == {"separate": separate, "y_term": y_term}
    # what depends on it follows
    assert (cfg.loss.y_term.saturation is None) is y_term
    assert (cfg.loss.y_term.start == 0) is y_term
    assert (cfg.data.tolerance > 0) is not separate
    assert (cfg.loss.beta_schedule.anneal != 1) is separate
    # vectors get branches on a continuum
    continuum = "branches" if cfg.data._target_ == "cvae.data.Vectors" else "film"
    assert cfg.model._target_ == f"cvae.networks.{'mixture' if separate else continuum}"
    assert cfg.optimizer._target_ == "cvae.optimizers.MuonAdamW"
    # what is linear in the features of a categorical latent stays so
    assert cfg.model.head.get("link", "logistic") == ("linear" if separate else "logistic")
    assert (cfg.loss.set_objective.weight > 0) is not separate
    assert (cfg.loss.set_objective.distance_weight > 0) is (cfg.model._target_ == "cvae.networks.branches")
    asked = sum("recipe." in override for override in overrides)
    assert len(caplog.records) == (asked < 2)


def test_what_little_of_the_prior_solves_is_trained_longer(settled: Shipped) -> None:
    thin = ["data=lines", "data.forward=['x0*x1', 'x0 + x1']"]
    separate, narrow, wide = (
        settled(*words, "trainer.max_epochs=auto").trainer.max_epochs for words in ([BIRDS], thin, [])
    )
    assert separate > narrow > wide > 0


@pytest.mark.parametrize(
    ("overrides", "entries"),
    [
        (["loss.beta=0.25"], {"loss.beta": 0.25}),
        (["data.tolerance=0.1"], {"data.tolerance": 0.1}),
        ([BIRDS, "data.tolerance=0.1"], {"data.tolerance": 0.1}),
        ([BIRDS, "trainer.max_epochs=3"], {"trainer.max_epochs": 3}),
        (["optimizer=sgd"], {"optimizer.lr": 0.01, "optimizer.momentum": 0.9}),
        (["optimizer=adamw", "optimizer.lr=0.5"], {"optimizer.lr": 0.5}),
        (["optimizer.weight_decay=0.1"], {"optimizer.weight_decay": 0.1, "optimizer.matrix_lr": 0.015}),
        ([BIRDS, "model=mixture", "model.head.link=logistic"], {"model.head.link": "logistic"}),
        ([BIRDS], {"model.head.link": "linear", "optimizer.matrix_lr": 0.01}),
        # of a model that is left to the recipe otherwise
        (["model.latent_dim=3"], {"model.latent_dim": 3, "model._target_": "cvae.networks.film"}),
        (["+model.hidden=[64]"], {"model.hidden": [64], "model.latent_dim": 4}),
        ([BIRDS, "+model.components=9"], {"model.components": 9, "model._target_": "cvae.networks.mixture"}),
        (["model=deep"], {"model._target_": "cvae.networks.deep", "model.width": 256}),
        ([BIRDS, "model=dense"], {"model._target_": "cvae.networks.dense", "data.tolerance": 0.0}),
        (["model=mixture"], {"model._target_": "cvae.networks.mixture", "data.tolerance": 0.6}),
        (["model=dense", "model/head=values"], {"model.head._target_": "cvae.networks.ValuesHead"}),
        (["loss=huber"], {"loss.likelihood.delta": 1.0}),
        (["loss.y_term.saturation=null"], {"loss.y_term.saturation": None}),
        ([BIRDS, "loss.y_term.saturation=null", "loss.y_term.start=0"], {"loss.y_term.saturation": None,
                                                                         "loss.y_term.start": 0}),
        (["evaluation.temperature=2"], {"evaluation.temperature": 2}),
        (["experiment=starter"], {"model._target_": "cvae.networks.starter", "loss.beta": 5.0, "data.tolerance": 0.0,
                                  "evaluation.temperature": 1.0}),
    ],
)  # fmt: skip
def test_what_is_set_survives_the_recipe(settled: Shipped, overrides: list[str], entries: dict[str, Any]) -> None:
    cfg = settled(*overrides)
    assert {name: OmegaConf.select(cfg, name) for name in entries} == entries


def test_an_option_that_the_chosen_model_lacks_is_not_dropped_in_silence(settled: Shipped) -> None:
    with pytest.raises(UserError, match=r"model\.latent_dim is no option of cvae\.networks\.mixture"):
        settled(BIRDS, "model.latent_dim=3")


@pytest.mark.parametrize(
    ("precision", "fused"),
    [("32-true", True), ("32", True), ("bf16-mixed", False), ("16-mixed", False), ("16", False)],
)
def test_the_optimizer_is_fused_where_gradients_can_be_clipped(settled: Shipped, precision: str, fused: bool) -> None:
    words = f"trainer.precision={precision}", "optimizer=adamw"
    assert settled(*words).optimizer.fused is fused
    assert settled(*words, "optimizer.fused=false").optimizer.fused is False


# --- what is settled


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [BIRDS],
        [*VECTOR],
        ["data=sine_wave", "model=deep"],
        ["experiment=starter", "debug=profiler"],
        ["debug=overfit", "generation=complete"],
        ["trainer=ddp", "optimizer=sgd", "loss=huber", "scheduler=one_cycle"],
    ],
)
def test_settling_changes_nothing_else_and_only_once(shipped: Shipped, overrides: list[str]) -> None:
    cfg = shipped(*overrides)
    before = OmegaConf.to_yaml(cfg)
    found = settle(cfg)
    assert OmegaConf.to_yaml(cfg) == before
    assert settle(found) == found
    for name, value in leaves(OmegaConf.to_container(found)):
        # Lightning finds these itself
        assert value != "auto" or name in ("trainer.accelerator", "trainer.devices", "trainer.strategy"), name
        assert not isinstance(value, str) or "${" not in value.replace("${run_dir}", ""), name
        assert value != "???" or name == "run_dir", name


def test_the_shapes_and_the_space_come_from_the_data(settled: Shipped) -> None:
    cfg = settled(BIRDS, "data.points=30", "model=dense")
    assert (cfg.model.x_shape, cfg.model.y_shape) == ([2, 30], [2, 30])
    assert (cfg.model.head.space._target_, cfg.model.head.space.points) == ("cvae.tasks.Lines", 30)
    cfg = settled(*VECTOR, "model=dense")
    assert (cfg.model.x_shape, cfg.model.y_shape) == ([2], [1])
    assert cfg.model.head.space.bounds == [[-1, 1], [0, 2]]
    assert settled("model=dense", "model.x_shape=[2,50]").model.x_shape == [2, 50]


def test_an_entry_may_point_to_one_that_is_auto(shipped: Shipped) -> None:
    cfg = settle(shipped("debug=overfit", small=()))
    assert cfg.data.source.train == cfg.data.batch_size == 512


def test_a_shape_that_is_no_list_is_refused(shipped: Shipped) -> None:
    with pytest.raises(UserError, match=r"model\.x_shape is 3, but the data give \[2, 50\]; set model\.x_shape=auto"):
        settle(shipped("model=dense", "model.x_shape=3"))


def test_what_follows_from_other_entries_follows_what_is_settled(settled: Shipped) -> None:
    cfg = settled("data.gates.rmse=0.2", "debug=overfit", "data.source.train=${data.batch_size}", "seed=7")
    assert cfg.loss.y_term.scale == 0.2
    assert cfg.data.source.train == cfg.data.batch_size == 32
    assert cfg.data.seed == cfg.generation.seed == 7


@pytest.mark.parametrize(("metric", "mode"), [("val/score", "max"), ("val/rmse", "min"), ("val/loss", "min")])
def test_the_optimized_measure_knows_its_direction(settled: Shipped, metric: str, mode: str) -> None:
    assert settled(f"optimized_metric={metric}").optimized_mode == mode
    assert settled(f"optimized_metric={metric}", "optimized_mode=max").optimized_mode == "max"


def test_the_distance_of_references_is_optimized_downwards(settled: Shipped) -> None:
    cfg = settled("optimized_metric=val/reference_distance", "data.evaluation.references=1")
    assert cfg.optimized_mode == "min"


@pytest.mark.parametrize(
    ("metric", "chosen", "mode"), [("auto", "val/loss", "min"), ("val/accuracy", "val/accuracy", "max")]
)
def test_measures_that_need_the_pairs_can_be_optimized(settled: Shipped, metric: str, chosen: str, mode: str) -> None:
    cfg = settled("experiment=digits", f"optimized_metric={metric}", small=())
    assert (cfg.optimized_metric, cfg.optimized_mode) == (chosen, mode)


@pytest.mark.parametrize(
    ("overrides", "metric"),
    [
        ([], "val/score"),
        ([BIRDS], "val/mode_recall"),
        ([BIRDS, "data.evaluation.references=0"], "val/valid"),
        ([BIRDS, "data.evaluation=null"], "val/valid"),
        ([BIRDS, "optimized_metric=val/rmse"], "val/rmse"),
        # whatever the recipe is told, what is measured follows from the problem
        (["recipe.separate=true"], "val/valid"),
        ([BIRDS, "recipe.separate=false"], "val/mode_recall"),
        ([*VECTOR], "val/score"),
    ],
)
def test_the_measure_that_epochs_are_compared_by_follows_from_the_problem(
    settled: Shipped, overrides: list[str], metric: str
) -> None:
    small = ("~callbacks.progress",)
    cfg = settled(*overrides, small=small)
    assert cfg.optimized_metric == cfg.callbacks.checkpoint.monitor == metric
    assert cfg.optimized_mode == cfg.callbacks.checkpoint.mode == ("min" if metric == "val/rmse" else "max")
    # the bar of the terminal shows it
    assert metric in settled(*overrides, small=()).callbacks.progress.measures


# --- which class of model a config means


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["experiment=swiss_roll", "loss=mse"],
            r"model is cvae\.networks\.energy .* such as model=dense; an energy needs",
        ),
        (["experiment=swiss_roll", "model=points"], r"contrastive divergence needs an energy, model=energy"),
        (["model=dense", "loss=contrastive_divergence"], r"contrastive divergence needs an energy, model=energy"),
        (["loss=contrastive_divergence"], r"contrastive divergence needs an energy, model=energy"),
        (["model=energy", "loss=contrastive_divergence"], r"x of shape \[2, 50\] and y of shape \[1, 50\]; choose"),
        (["experiment=swiss_roll", "data=gaussian_mixture"], r"x of shape \[3\] and y of shape \[0\]; choose"),
        (["experiment=swiss_roll", "compile=true"], r"compile is true, but an energy model has nothing to compile"),
        (["experiment=swiss_roll", "evaluation.steps=null"], r"evaluation\.steps is not set; .*evaluation\.steps=1000"),
        (["experiment=swiss_roll", "~evaluation.step_size"], r"evaluation\.step_size is not set"),
        (
            ["experiment=swiss_roll", "loss.chains=100"],
            r"loss\.chains is 100; it must be at least data\.batch_size, 256",
        ),
        (
            ["experiment=swiss_roll", "trainer.devices=2"],
            r"trainer\.devices is 2, but an energy model is trained by one",
        ),
        (["experiment=swiss_roll", "trainer=ddp_cpu"], r"trainer\.devices is 2, but an energy model is trained by one"),
        (["+evaluation.steps=10"], r"evaluation\.steps is 10, but only an energy model draws in steps"),
    ],
)
def test_what_does_not_go_with_the_kind_of_model_is_refused(
    shipped: Shipped, overrides: list[str], message: str
) -> None:
    small = ("~callbacks.progress",) if "experiment=swiss_roll" in overrides else ()
    with pytest.raises(UserError, match=message):
        settle(shipped(*overrides, small=small))


def test_a_vae_can_learn_the_swiss_roll_too(settled: Shipped) -> None:
    words = ["data=swiss_roll", "model=points", "loss=elbo", "loss.likelihood._target_=cvae.losses.gaussian"]
    cfg = settled(*words, small=())
    assert (cfg.model.x_shape, cfg.optimized_metric, cfg.optimized_mode) == ([2], "val/mmd", "min")


# --- the identity of a run


def identity(cfg: DictConfig) -> str:
    return identify(settings_of(cfg))


@pytest.mark.parametrize(
    ("short", "explicit"),
    [
        ([], ["loss.beta=1.6e-3", "data.batch_size=32", "recipe.separate=false", "model=film"]),
        ([BIRDS], [BIRDS, "model=mixture", "data.tolerance=0.0", "loss.beta_schedule.anneal=8.0"]),
        (["optimizer=muon"], ["optimizer.lr=2.0e-3", "optimized_metric=val/score", "optimized_mode=max"]),
        ([BIRDS], [BIRDS, "optimizer.matrix_lr=0.01", "model=mixture", "model/head=parameters_linear"]),
    ],
)
def test_what_is_written_out_is_the_same_run(settled: Shipped, short: list[str], explicit: list[str]) -> None:
    assert identity(settled(*short)) == identity(settled(*explicit))


def test_other_values_are_another_run(settled: Shipped) -> None:
    same = identity(settled())
    assert identity(settled("run_dir=/elsewhere", "threads=2", "data.cache=/elsewhere")) == same
    for override in ("seed=1", "loss.beta=0.5", "recipe.y_term=false", "model.latent_dim=3"):
        assert identity(settled(override)) != same, override


@pytest.mark.parametrize("overrides", [[], [BIRDS], [*VECTOR]])
def test_a_settled_config_is_a_config_of_hydra(settled: Shipped, tmp_path: Path, overrides: list[str]) -> None:
    cfg = settled(*overrides)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        again = compose("config")
        other = compose("config", overrides=["seed=5"])
    assert identity(settle(again)) == identity(cfg)
    assert settle(other).seed == 5


# --- files


@pytest.mark.parametrize(
    ("overrides", "gate"),
    [
        (["data=product"], 0.048),
        (["data=lines", "data.forward=['100*x0*x1']"], 4.8),
        # 5 % of the root mean square of sin + cos
        (["data=sine_wave"], 0.05),
    ],
)
def test_an_automatic_gate_is_a_share_of_the_spread_of_y(settled: Shipped, overrides: list[str], gate: float) -> None:
    cfg = settled(*overrides, "data.gates.rmse=auto")
    assert cfg.data.gates.rmse == pytest.approx(gate, rel=0.05)
    assert settle(cfg) == cfg


def test_an_automatic_gate_of_files_follows_their_y(
    settled: Shipped, problem: MakeProblem, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x, y = simulate(problem(), 60, torch.Generator().manual_seed(0))
    y = 10 * y
    torch.save(TensorDataset(x, y), tmp_path / "train.pt")
    words = ["data=lines_file", f"data.source.train={tmp_path}/train.pt", "data.source.trust_y=true"]
    with caplog.at_level(logging.INFO, logger="cvae.runs.gates"):
        cfg = settled(*words, "data.forward=['x0*x1']", "data.gates.rmse=auto", small=())
    spread = ((y - y.mean(0)) ** 2).mean().sqrt().item()
    assert cfg.data.gates.rmse == pytest.approx(0.3 * spread, rel=0.06)
    assert f"y spreads by {spread:.3g}, of which the gate is 30 %" in caplog.text
    assert "train.pt" in caplog.text


def test_gate_and_spread_are_said_once_and_a_gate_without_meaning_is_warned_of(
    shipped: Shipped, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="cvae.runs.gates"):
        cfg = settle(shipped("data=lines", "data.forward=['0.05*x0*x1']"))
        settle(cfg)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "gates.rmse is 0.05, 62" in caplog.records[1].getMessage()


def test_files_of_separate_solutions_are_settled_by_their_problem(
    settled: Shipped, problem: MakeProblem, tmp_path: Path
) -> None:
    forward = ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"]
    x, y = simulate(problem(*forward, pearson=0.8, rmse=0.1), 50, torch.Generator().manual_seed(0))
    torch.save([(a.T.unsqueeze(0), b.T) for a, b in zip(x, y, strict=True)], tmp_path / "birds.pt")
    file = f"data.source.train={tmp_path}/birds.pt"
    cfg = settled("data=lines_file", f"data.forward={forward}", file, "data.source.held_out=10", small=())
    assert cfg.recipe.separate is True
    assert cfg.model._target_ == "cvae.networks.mixture"
    assert cfg.data.fresh is False


def test_the_recipe_looks_at_the_lines_that_a_file_shows(
    settled: Shipped, problem: MakeProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = simulate(problem("x0 * x1", directions=("rising", "rising")), 64, torch.Generator().manual_seed(0))
    torch.save([(a.T.unsqueeze(0), b[0]) for a, b in zip(x, y, strict=True)], tmp_path / "triples.pt")
    seen: list[Any] = []

    def note(problem: Any) -> float:
        seen.append(problem.space.directions)
        return 1.0

    monkeypatch.setattr("cvae.runs.settle.gradient_alignment", note)
    small = ["data=lines_file", "data.forward=['x0 * x1']", f"data.source.train={tmp_path}/triples.pt"]
    cfg = settled(*small, "data.source.held_out=8", small=())
    assert seen == [("rising", "rising")]
    assert cfg.data.directions == cfg.model.head.space.directions == ["rising", "rising"]


# --- refusals


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("data.points=null", "data.points is None; it must be a whole number."),
        ("data.points=2", "data.points is 2; a line needs at least 3 points."),
        ("data.gates.rmse=abc", "data.gates.rmse is 'abc'; it must be a number."),
        ("data.gates.rmse=-1", "data.gates.rmse is -1.0; it must be positive."),
        ("data.gates=null", "data.gates is None; it must be a mapping."),
        ("+data.gates.foo=1", "data.gates.foo is no option of cvae.data.inverse.LineGates; it has: pearson, rmse."),
        ("+model.latent_dims=3", "model.latent_dims is no option of cvae.networks.film (did you mean latent_dim?);"),
        ("+model.x_shape=[3]", "model.x_shape is [3], but the data give [2, 50]; set model.x_shape=auto."),
        ("model=dense model.y_shape=[3]", "model.y_shape is [3], but the data give [1, 50]; set model.y_shape=auto."),
        ("test=abc", "test is 'abc'; it must be true or false."),
        ("compile=maybe", "compile is 'maybe'; it must be true or false."),
        ("data.fresh=maybe", "data.fresh is 'maybe'; it must be true or false."),
        ("optimizer.lr=null", "optimizer.lr is None; it must be a number."),
        ("optimizer.lr=abc", "optimizer.lr is 'abc'; it must be a number."),
        ("optimizer.lr=nan", "optimizer.lr is nan; it must be a number."),
        ("optimizer.lr=true", "optimizer.lr is True; it must be a number."),
        ("optimizer.lr=-1", "optimizer.lr is -1; it must be above 0."),
        ("optimizer.lr=0", "optimizer.lr is 0; it must be above 0."),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay is -1; it must be at least 0."),
        ("optimizer=sgd optimizer.momentum=-1", "optimizer.momentum is -1; it must be at least 0."),
        ("+optimizer.foo=1", "optimizer.foo is no option of cvae.optimizers.MuonAdamW; it has: params, lr,"),
        ("trainer.devices=null", "trainer.devices is None; it must be text or a whole number or a list of whole"),
        ("trainer.precision=31", "trainer.precision is 31; it must be one of 64, 32, 16,"),
        ("trainer.max_epochs=abc", "trainer.max_epochs is 'abc'; it must be a whole number or null."),
        ("trainer.max_epochs=1.5", "trainer.max_epochs is 1.5; it must be a whole number or null."),
        ("callbacks=early_stopping callbacks.stop.patience=-1", "callbacks.stop.patience is -1; it must be at least 0"),
        ("callbacks=early_stopping callbacks.stop.monitor=val/nope", "callbacks.stop.monitor is 'val/nope', which is "),
        ("logger=wandb logger.wandb.offline=a", "logger.wandb.offline is 'a'; it must be true or false."),
        ("trainer.max_epochs=-2", "trainer.max_epochs is -2; it must be at least -1."),
        ("trainer.max_epochs=-1", "trainer.max_epochs is -1, a training without an end; set it, or +trainer.max_steps"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val is -1; it must be at least 0."),
        ("+trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch is 0; it must be at least 1."),
        ("+trainer.num_nodes=0", "trainer.num_nodes is 0; it must be at least 1."),
        ("seed=-1", "seed is -1; it must be a whole number from 0 to 4294967295."),
        ("seed=4294967296", "seed is 4294967296; it must be a whole number from 0 to 4294967295."),
        ("seed=null", "seed is None; it must be a whole number."),
        ("seed=abc", "seed is 'abc'; it must be a whole number."),
        ("threads=0", "threads is 0; it must be at least 1."),
        ("threads=many", "threads is 'many'; it must be a whole number or null."),
        ("data.batch_size=many", "data.batch_size is 'many'; it must be a whole number."),
        ("data.source.train=1e3", "data.source.train is 1000.0; it must be a whole number."),
        ("data.source=null", "data.source is None; it must be a mapping."),
        ("loss.beta=small", "loss.beta is 'small'; it must be a number."),
        ("generation.draws=all", "generation.draws is 'all'; it must be a whole number."),
        ("+generation.count=3", "generation.count is no option of cvae.generation.generate.Plan (did you mean"),
        ("+evaluation.points=3", "evaluation.points is no option of cvae.models.generative.Evaluation"),
        ("evaluation=null", "evaluation is None; it must be a mapping, as conf/train.yaml has it."),
        ("optimized_metric=val/foo", "optimized_metric is 'val/foo', which is not measured; choose one of train/kl,"),
        ("optimized_metric=val/mode_recall", "optimized_metric is 'val/mode_recall', which is not measured;"),
        ("optimized_mode=up", "optimized_mode is 'up'; it must be one of max, min."),
        ("data.prior=foo", "data.prior holds 'foo'; it must be uniform, normal or {mean: ..., std: ...}."),
        ("recipe.separate=maybe", "recipe.separate is 'maybe'; it must be auto, true or false."),
        ("recipe=continuum", "recipe names a column of conf/recipe; set recipe.separate and recipe.y_term"),
        ("recipe.separate=1", "recipe.separate is 1; it must be auto, true or false."),
        ("recipe.y_term=null", "recipe.y_term is None; it must be auto, true or false."),
        ("data=lines", "data.forward must be set, for example with data.forward=...; there is no default."),
        ("data=vector", "data.bounds, data.forward must be set, for example with data.bounds=...;"),
        ("data=vector data.bounds=[[1,0]] data.forward=[x0]",
         "data.bounds[0] is [1, 0]; it must be [lowest, highest] with lowest < highest."),
        ("+data.bounds=[[0,1]]", "data.bounds is no option of cvae.data.LineTriples; it has: source,"),
        ("data.forward=[x7]", "data.forward: x7 does not exist: data.directions names 2, at column 1"),
        ("callbacks.last.filename=3", "callbacks.last.filename is 3; it must be text or null."),
        ("+callbacks.foo=1", "callbacks.foo is 1; it must be a mapping with _target_, or null."),
        ("logger.csv=1", "logger.csv is 1; it must be a mapping with _target_, or null."),
        ("+callbacks.foo={_target_: nowhere.f}", "callbacks.foo._target_ is 'nowhere.f', which cannot be imported: No"),
        ("seed=${sede}", "seed is ${sede}, which has no value (Interpolation key 'sede' not found); set it."),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_value_and_the_remedy(shipped: Shipped, overrides: str, message: str) -> None:
    words = [overrides] if "{" in overrides else overrides.split()
    cfg = shipped(*words)
    with pytest.raises(Exception, match=r".") as caught:
        settle(cfg)
    said = user_message(caught.value)
    assert said is not None
    assert said.startswith(message)


@pytest.mark.parametrize("name", ["separate", "y_term"])
@pytest.mark.parametrize("word", ["no", "null"])
def test_other_words_of_the_recipe_are_refused(settled: Shipped, name: str, word: str) -> None:
    with pytest.raises(UserError, match=rf"recipe.{name} is .*; it must be auto, true or false"):
        settled(f"recipe.{name}={word}")


# --- the latent


@pytest.mark.parametrize(
    ("overrides", "noise", "divergence"),
    [
        (["model/latent=mmd"], None, "MMD"),
        (["model/latent=[student_t,mmd]", "model.latent.noise.degrees=3"], "StandardStudentT", "MMD"),
        (["model=deep", "model/latent=uniform"], "StandardUniform", None),
        (["data=two_birds", "model=dense", "model/latent=[uniform,kl]"], "StandardUniform", "KL"),
    ],
)
def test_any_noise_meets_any_divergence(
    settled: Shipped, overrides: list[str], noise: str | None, divergence: str | None
) -> None:
    latent = settled(*overrides).model.latent
    for part, name in (("noise", noise), ("divergence", divergence)):
        found = latent.get(part)
        assert (found and found._target_) == (name and f"cvae.networks.{name}")


@pytest.mark.parametrize("overrides", [[BIRDS], ["model=mixture"], ["experiment=starter"]])
def test_a_model_with_a_latent_of_its_own_takes_no_other(settled: Shipped, overrides: list[str]) -> None:
    with pytest.raises(
        UserError, match=r"model\.latent is set, but cvae\.networks\.\w+ has a latent of its own;.*=dense"
    ):
        settled(*overrides, "model/latent=mmd")


def test_an_unknown_entry_of_the_latent_is_refused(settled: Shipped) -> None:
    with pytest.raises(UserError, match=r"model\.latent\.noise\.degree is no option"):
        settled("model=dense", "model/latent=student_t", "+model.latent.noise.degree=3")
    with pytest.raises(
        UserError, match=r"model\.latent\.divergence\.weight is no option of cvae\.networks\.KL; it has: none"
    ):
        settled("model=dense", "model/latent=kl", "+model.latent.divergence.weight=3")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("[mmd,sliced_wasserstein]", "2 members for the divergence: mmd, sliced_wasserstein; choose one"),
        ("[mmd,kl]", "2 members for the divergence: mmd, kl;"),
        ("[kl,student_t,mmd]", "2 members for the divergence: kl, mmd;"),
        ("[student_t,uniform]", "2 members for the noise: student_t, uniform;"),
    ],
)
def test_two_members_of_one_kind_are_refused(shipped: Shipped, chosen: str, message: str) -> None:
    with pytest.raises(UserError, match=f"model/latent names {message}"):
        settle(shipped("model=dense", f"model/latent={chosen}"))


def test_every_member_of_the_latent_tells_its_kind() -> None:
    for path in (config_folder() / "model" / "latent").iterdir():
        member = OmegaConf.load(path)
        assert list(member.members) == [path.stem]
        assert member.members[path.stem] in member
