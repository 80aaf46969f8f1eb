"""One finished run that many tests look at, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra import compose, initialize_config_dir

import cvae.runs.names  # noqa: F401 - registers the resolvers that the configs use
from cvae.runs.launch import run

ROOT = Path(__file__).resolve().parents[2]

#: overrides that make a run of the shipped config last about a second
TINY = (
    "data.source.train=128",
    "data.source.validation=33",
    "data.source.test=17",
    "data.batch_size=64",
    "data.evaluation.validation=5",
    "data.evaluation.test=7",
    "generation.draws=6",
    "trainer.max_epochs=2",
)


#: vectors instead of lines
VECTORS = ("data=vector", "data.bounds=[[-1,1],[0,2]]", "data.forward=[x0 * x1]", "data.gates.rmse=0.1")


class Run(NamedTuple):
    """A finished run: its folder, its overrides and what it returned."""

    folder: Path
    overrides: list[str]
    value: float


@pytest.fixture(scope="session", autouse=True)
def own_cache(cache_folder: Path) -> Iterator[None]:
    """Reference sets that runs share are kept out of the checkout, also by processes that a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVAE_CACHE", str(cache_folder))
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Run:
    """The shipped config, made tiny, run for two epochs with pictures in each."""
    folder = tmp_path_factory.mktemp("run")
    overrides = [*TINY, "callbacks.figures.every_epochs=1", "seed=3"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    return Run(folder, overrides, run(cfg, folder, overrides))


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Overrides for tiny runs."""
    return TINY


@pytest.fixture(scope="session")
def vectors() -> tuple[str, ...]:
    """Overrides for tiny runs on vectors."""
    return (*TINY, *VECTORS)


CommandLine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command_line() -> CommandLine:
    """Runs ``python train.py ...`` in the checkout, in a process of its own."""

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # one thread each, so that processes do not wait for one another on few cores
        env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
        return subprocess.run(
            [sys.executable, "train.py", *words],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    return call


@pytest.fixture
def clean_checkout() -> Callable[[], None]:
    """Gives a check that nothing new lies in the checkout, caches aside."""
    before = _listing()

    def check() -> None:
        assert _listing() - before == set()

    return check


def _listing() -> set[Path]:
    ignored = {".git", ".venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
    top = [path for path in ROOT.iterdir() if path.name not in ignored]
    # folders that a run could write to by mistake; outputs is where runs of the default config go
    inside = [path for name in ("outputs", "conf", "cvae") for path in (ROOT / name).glob("*/*")]
    return {path for path in (*top, *inside) if "__pycache__" not in path.parts}
