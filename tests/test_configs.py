"""Every config file composes and builds; a new file is tested the day it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import Callback, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from cvae.data import simulate
from cvae.problems import Problem
from cvae.training import build, build_trainer, train

CONF = Path(__file__).resolve().parents[1] / "conf"
FILES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
ROOTS = [name for name in FILES if "/" not in name]
# what configures Hydra itself may need a plugin
MEMBERS = [name for name in FILES if "/" in name and not name.startswith("hydra/")]
EXPERIMENTS = [name for name in MEMBERS if name.startswith("experiment/")]
SIZES = {"train": 64, "validation": 16, "test": 16}


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
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVAE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def triples(tmp_path: Path) -> Path:
    """A small file in the challenge's layout."""
    problem = Problem.from_config(50, ["falling", "rising"], [0.0, 1.0], ["x0 * x1"], {"pearson": 0.9, "rmse": 0.05})
    x, y = simulate(problem, 64, torch.Generator().manual_seed(0))
    path = tmp_path / "triples.pt"
    torch.save([(a.T.unsqueeze(0), b[0]) for a, b in zip(x, y, strict=True)], path)
    return path


def composed(member: str, run_dir: Path, triples: Path, *overrides: str) -> DictConfig:
    """The train config with a member chosen, and with little data."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[*choose(member), f"run_dir={run_dir}", *overrides])
    source = OmegaConf.select(cfg, "data.source")
    if source is None:
        return cfg
    if OmegaConf.is_missing(cfg.data, "forward"):
        cfg.data.forward = ["x0 * x1"]
    if OmegaConf.select(source, "_target_") == "cvae.data.LineFiles":
        source.train, source.held_out = str(triples), 8
        return cfg
    for split, size in SIZES.items():
        if isinstance(source.get(split), int):
            source[split] = size
    return cfg


def test_there_are_configs_to_test() -> None:
    assert {"train"} <= set(ROOTS)
    assert {"data/product", "model/dense", "model/head/points", "loss/huber", "debug/overfit"} <= set(MEMBERS)


@pytest.mark.parametrize("name", ROOTS)
def test_every_main_config_composes(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose(name)


@pytest.mark.parametrize("member", MEMBERS)
def test_every_member_of_every_group_builds(member: str, tmp_path: Path, triples: Path) -> None:
    cfg = composed(member, tmp_path, triples)
    data, model = build(cfg)
    assert len(data.splits.train.x) > 0
    model.make_optimizer(model.parameters())
    assert model.schedule(0.5) > 0
    assert all(isinstance(instantiate(entry), Callback) for entry in cfg.callbacks.values() if entry is not None)
    assert all(isinstance(instantiate(entry), Logger) for entry in cfg.logger.values() if entry is not None)
    # what a GPU trainer asks for need not be here
    cfg.trainer.accelerator, cfg.trainer.devices = "cpu", 1
    assert isinstance(build_trainer(cfg, tmp_path, [], []), Trainer)


@pytest.mark.parametrize("member", EXPERIMENTS)
def test_every_experiment_runs(member: str, tmp_path: Path, triples: Path) -> None:
    cfg = composed(member, tmp_path, triples, "debug=fast_dev_run", "~callbacks.progress")
    cfg.trainer.accelerator, cfg.trainer.devices = "cpu", 1
    train(cfg, tmp_path)
    assert (tmp_path / "result.json").is_file()


def test_an_unknown_key_is_an_error(shipped: Any) -> None:
    with pytest.raises(Exception, match=r"Could not override 'modl.latent_dim'"):
        shipped("modl.latent_dim=3")
