"""Every config file composes, builds and trains; a new file is tested the day it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

import cvae.runs.names  # noqa: F401 - registers the resolvers that the configs use
from cvae.data import simulate
from cvae.runs.launch import run
from cvae.runs.settle import settle
from cvae.runs.train import build_callbacks
from cvae.tasks import box_problem, line_problem

CONF = Path(__file__).resolve().parents[1] / "conf"
FILES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
ROOTS = [name for name in FILES if "/" not in name]
# what configures Hydra itself may need a plugin
MEMBERS = [name for name in FILES if "/" in name and not name.startswith("hydra/")]
#: groups of other main configs than train.yaml
OF_OTHERS = ("search/", "table/")
#: columns of the recipe, which conf/recipe/auto.yaml puts side by side
COLUMNS = [name for name in MEMBERS if name.startswith("recipe/") and name != "recipe/auto"]
TRAINED = [name for name in MEMBERS if not name.startswith(OF_OTHERS) and name not in COLUMNS]
TINY = (
    "debug=fast_dev_run",
    "~callbacks.progress",
    "data.evaluation.validation=2",
    "data.evaluation.test=2",
    "data.evaluation.references=0",
    "generation.draws=3",
)
SIZES = ("data.source.train=64", "data.source.validation=16", "data.source.test=16")
FEW_POINTS = ("data.train=64", "data.validation=16", "data.test=40", "evaluation.draws=20")
FEW_STEPS = ("evaluation.steps=5",)
#: what members need that belong to a task without a forward operator, in place of the above
OTHER_TASKS = {
    "data/digits": ["experiment=digits"],
    "data/mnist": ["experiment=digits", "data.root={folder}"],
    "data/gaussian_mixture": ["experiment=mixture", *FEW_POINTS],
    "data/sea_temperature": ["experiment=sea_temperature", "evaluation.draws=2"],
    "data/swiss_roll": ["experiment=swiss_roll", *FEW_POINTS, *FEW_STEPS],
    "experiment/digits": [],
    "experiment/mixture": [*FEW_POINTS],
    "experiment/sea_temperature": ["evaluation.draws=2"],
    "experiment/swiss_roll": [*FEW_POINTS, *FEW_STEPS],
    "loss/contrastive_divergence": ["experiment=swiss_roll", *FEW_POINTS, *FEW_STEPS],
    "model/conv": ["experiment=digits"],
    "model/dense_image": ["experiment=digits"],
    "model/energy": ["experiment=swiss_roll", *FEW_POINTS, *FEW_STEPS],
    "model/points": ["experiment=mixture", *FEW_POINTS],
}
#: light curves on maps that take a tenth of a second
TINY_CURVES = [
    "experiment=light_curves",
    "data.points=32",
    "data.radii=[0.4,1.0]",
    "data.source.kappa=0.4",
    "data.source.gamma=0.2",
    "data.source.smooth=0.1",
    "data.source.length=2.0",
    "data.source.maps={train: 1, validation: 1, test: 2, beyond: 2}",
    "data.source.curves=16",
    "data.source.beyond={above: [1.0, 1.5]}",
]
OTHER_TASKS |= {
    "data/light_curves": [*TINY_CURVES, "data.source.beyond={}"],
    "experiment/light_curves": TINY_CURVES,
    "data/light_curves_files": ["experiment=light_curves", "data.source.root={folder}", "data.source.held_out=0.3"],
    "model/light_curves": [
        "experiment=light_curves",
        "data=light_curves_files",
        "data.source.root={folder}",
        "data.source.held_out=0.3",
    ],
}
SIMULATED_CURVES = ("data/light_curves", "experiment/light_curves")
TINY_OTHERS = ("debug=fast_dev_run", "~callbacks.progress", "generation.draws=3")
NEEDS = {
    "data/lines": ["data.forward=[x0 * x1]"],
    "data/vector": ["data.forward=[x0 * x1]", "data.bounds=[[-1,1],[0,2]]"],
    "data/lines_file": ["data.forward=[x0 * x1]", "data.source.train={folder}/triples.pt", "data.source.held_out=8"],
    "data/vector_file": [
        "data.forward=[x0 * x1]",
        "data.bounds=[[-1,1],[0,2]]",
        "data.source.train={folder}/vectors.pt",
        "data.source.held_out=8",
    ],
    # for many candidates, refined and chosen
    "generation/complete": ["generation.candidates=20", "generation.backfill=100", "generation.explore=10"],
}


def default_groups(config: Path) -> set[str]:
    """Groups that a config's defaults list chooses from."""
    entries = OmegaConf.load(config).get("defaults", [])
    return {str(key).removeprefix("override ") for entry in entries if not isinstance(entry, str) for key in entry}


def choose(member: str) -> list[str]:
    """Overrides that put a member of a group into the train config."""
    group, name = member.rsplit("/", 1)
    if group in default_groups(CONF / "train.yaml"):
        return [f"{group}={name}"]
    parent, _, inner = group.rpartition("/")
    for config in sorted((CONF / parent).glob("*.yaml")) if parent else ():
        if inner in default_groups(config):
            return [f"{parent}={config.stem}", f"{group}={name}"]
    return [f"+{group}={name}"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at_once: None) -> None:
    monkeypatch.setenv("CVAE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, write_mnist: Callable[..., Path]) -> Path:
    """A folder with a small file of lines in the challenge's layout, one of vectors, and few images as MNIST."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = line_problem(50, ["falling", "rising"], [0.0, 1.0], ["x0 * x1"], {"pearson": 0.9, "rmse": 0.05})
    x, y = simulate(lines, 64, torch.Generator().manual_seed(0))
    torch.save([(a.T.unsqueeze(0), b[0]) for a, b in zip(x, y, strict=True)], folder / "triples.pt")
    vectors = box_problem([[-1, 1], [0, 2]], ["x0 * x1"], {"rmse": 0.05})
    x, y = simulate(vectors, 64, torch.Generator().manual_seed(0))
    torch.save(list(zip(x, y, strict=True)), folder / "vectors.pt")
    write_mnist(folder)
    for number in range(10):
        series = folder / f"{number:05d}" / "05.dat"
        series.parent.mkdir()
        np.savetxt(series, 1 + torch.rand(20).numpy())
    np.savetxt(folder / "labels.dat", np.full((10, 4), 0.3))
    return folder


def composed(member: str, run_dir: Path, pairs: Path) -> DictConfig:
    """The train config with a member chosen, and with little data."""
    sizes = [] if member.endswith("_file") else [*SIZES]
    needs = [word.replace("{folder}", str(pairs)) for word in NEEDS.get(member, [])]
    chosen = choose(member)
    if member in OTHER_TASKS:
        words = [word.replace("{folder}", str(pairs)) for word in OTHER_TASKS[member]]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", overrides=[*chosen, f"run_dir={run_dir}", *TINY_OTHERS, *words])
    # a debug overlay replaces the one that makes runs short
    tiny = [word for word in TINY if not (member.startswith("debug/") and word.startswith("debug="))]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[*chosen, f"run_dir={run_dir}", *tiny, *sizes, *needs])
    if member.startswith("debug/"):
        cfg.trainer.max_epochs = 1
    # what a GPU trainer asks for need not be here
    cfg.trainer.accelerator, cfg.trainer.devices = "cpu", 1
    return cfg


def test_there_are_configs_to_test() -> None:
    assert {"train"} <= set(ROOTS)
    assert {"data/product", "data/vector", "model/dense", "model/head/values", "loss/huber"} <= set(TRAINED)
    assert {
        "recipe/continuum",
        "recipe/continuum_thin",
        "recipe/continuum_vectors",
        "recipe/separate",
        "recipe/y_near",
        "recipe/y_everywhere",
    } == set(COLUMNS)


@pytest.mark.parametrize("name", ROOTS)
def test_every_main_config_composes(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose(name)


@pytest.mark.parametrize("member", TRAINED)
def test_every_member_of_every_group_trains(member: str, tmp_path: Path, pairs: Path) -> None:
    if member in SIMULATED_CURVES:
        pytest.importorskip("caustics", reason="caustics (extra lightcurves) is not installed")
    cfg = composed(member, tmp_path, pairs)
    run(cfg, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "finished"
    assert {"train/loss", "val/loss", "test/loss"} <= set(result["measures"])
    assert member in OTHER_TASKS or {"val/score", "test/score"} <= set(result["measures"])


@pytest.mark.parametrize("member", [name for name in MEMBERS if name.startswith(OF_OTHERS)])
def test_every_member_of_other_groups_leaves_the_training_as_it_is(member: str, tmp_path: Path, pairs: Path) -> None:
    cfg = composed(member, tmp_path, pairs)
    assert settle(cfg).model._target_ == "cvae.networks.film"


@pytest.mark.parametrize("column", [name.removeprefix("recipe/") for name in COLUMNS])
def test_every_column_of_the_recipe_fills_entries_that_are_there(column: str, tmp_path: Path, pairs: Path) -> None:
    cfg = composed("recipe/auto", tmp_path, pairs)

    def check(own: Any, recipe: Any, where: str) -> None:
        for key, value in recipe.items():
            assert key in own, f"{where}.{key}"
            if isinstance(value, dict) and own[key].get("_target_") != "auto":
                check(own[key], value, f"{where}.{key}")

    check(OmegaConf.to_container(cfg), OmegaConf.to_container(cfg.recipe.columns[column]), column)


def test_the_default_callbacks_and_loggers_build(tmp_path: Path, pairs: Path) -> None:
    cfg = settle(composed("model/auto", tmp_path, pairs))
    assert len(build_callbacks(cfg, tmp_path)) == 4
    cfg.run_dir = str(tmp_path)
    assert all(isinstance(instantiate(entry), Logger) for entry in cfg.logger.values())


def test_an_unknown_key_is_an_error() -> None:
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises(Exception, match=r"Could not override 'modl.latent_dim'"),
    ):
        compose("train", overrides=["modl.latent_dim=3"])
