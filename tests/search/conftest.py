"""What tests of the search share: Hydra on the shipped configs, and searches of trials that take a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

import cvae.config  # noqa: F401 - registers the resolvers that the configs use
from cvae.search.definition import Definition, define
from cvae.search.run import run_search

ROOT = Path(__file__).resolve().parents[2]

#: overrides of trials that last about a second
TINY = (
    "data.source.train=64",
    "data.source.validation=16",
    "data.source.test=16",
    "data.evaluation.validation=4",
    "data.evaluation.test=4",
    "data.evaluation.references=2",
    "generation.count=5",
    "trainer.max_epochs=2",
    "logger.tensorboard=null",
)
#: a space of few and cheap entries instead of the shipped one
SPACE = {
    "optimizer": {"choices": ["adamw", "sgd"]},
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.latent_dim": {"low": 2, "high": 5},
}


@pytest.fixture(autouse=True)
def hydra_on_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hydra as the scripts have it; reference sets lie in the test's folder."""
    monkeypatch.setenv("CVAE_CACHE", str(tmp_path / "cache"))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.fixture
def config() -> Callable[..., Any]:
    """Composes ``tune`` with a space of its own and tiny trials: ``config("trials=3", space={...})``."""

    def make(*words: str, space: dict[str, Any] | None = None, overrides: tuple[str, ...] = ()) -> Any:
        cfg = compose("tune", overrides=list(words))
        cfg.overrides = [*TINY, *overrides]
        cfg.search.space = SPACE if space is None else space
        cfg.search.constraints = {"val/pearson": {"at_least": "${data.gates.pearson}"}}
        return cfg

    return make


@pytest.fixture
def defined(config: Callable[..., Any]) -> Callable[..., Definition]:
    """Settles a search: ``defined("search.metric=val/valid", space={...})``."""

    def make(*words: str, **settings: Any) -> Definition:
        cfg = config(*words, **settings)
        return define(cfg.search, list(cfg.overrides))

    return make


@pytest.fixture
def search_in(config: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Runs a search below ``tmp_path`` and gives the study's folder: ``search_in("trials=3")``."""

    def run(*words: str, **settings: Any) -> Path:
        cfg = config("study=s", f"out={tmp_path}", "search.pruner.n_startup_trials=0", *words, **settings)
        run_search(cfg, "default")
        return tmp_path / "s"

    return run
