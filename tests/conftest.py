"""What all tests share: seeds, a guard of torch's global defaults, problems, and the shipped config made small."""

from __future__ import annotations

import os
import runpy
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import cvae.runs.names  # noqa: F401 - registers the resolvers that the configs use
from cvae.inversion import gradient_alignment, has_isolated_solutions
from cvae.tasks import Problem, box_problem, line_problem

ROOT = Path(__file__).resolve().parents[1]

#: overrides that make a run of the shipped config last about a second
SMALL = (
    "data.source.train=64",
    "data.source.validation=16",
    "data.source.test=16",
    "data.batch_size=32",
    "data.evaluation.validation=4",
    "data.evaluation.test=4",
    "generation.draws=5",
    "trainer.max_epochs=1",
    "~callbacks.progress",
)


class Done(NamedTuple):
    """What a script left: exit status, stdout and stderr."""

    status: int
    out: str
    err: str

    @property
    def table(self) -> list[dict[str, str]]:
        """The rows of its Markdown, by column."""
        lines = [line for line in self.out.splitlines() if line.startswith("| ")]
        names, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
        return [dict(zip(names, row, strict=True)) for row in rows]


def run_main(
    path: Path, words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Done:
    """Run a script with words of a command line, in this process."""
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    status = 0
    try:
        # as the main module: Hydra looks for the configs beside that file
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        status = int(end.code or 0)
    return Done(status, *capsys.readouterr())


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The global generator starts alike in every test."""
    torch.manual_seed(0)


def torch_defaults() -> dict[str, Any]:
    """The global settings of torch that a test could leave changed."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn deterministic": torch.backends.cudnn.deterministic,
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "matmul precision": torch.get_float32_matmul_precision(),
        "grad enabled": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
    }


@pytest.fixture(autouse=True)
def unchanged_torch_defaults() -> Iterator[None]:
    """Fails a test that leaves a global default of torch changed."""
    before = torch_defaults()
    yield
    after = torch_defaults()
    changed = {name: (value, after[name]) for name, value in before.items() if after[name] != value}
    assert not changed, f"global defaults of torch were left changed (before, after): {changed}"


@pytest.fixture(scope="session", autouse=True)
def no_power_cuts() -> Iterator[None]:
    """No file waits for the disk: a run writes dozens, and no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets everything that is written beside its place come to a disk without room."""

    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        temporary = path.with_name(f".{path.stem}.full{path.suffix}")
        temporary.symlink_to("/dev/full")
        try:
            yield temporary
        finally:
            temporary.unlink()

    monkeypatch.setattr("cvae.files._beside", full)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """Makes line problems: ``problem("x0 * x1")``, ``problem(f, g, points=10, pearson=0.8)``."""

    def make(
        *forward: str,
        points: int = 50,
        directions: Sequence[str] = ("falling", "rising"),
        range: Sequence[float] = (0.0, 1.0),
        pearson: float = 0.9,
        rmse: float = 0.05,
    ) -> Problem:
        gates = {"pearson": pearson, "rmse": rmse}
        return line_problem(points, directions, range, list(forward) or ["x0 * x1"], gates)

    return make


@pytest.fixture
def vector_problem() -> Callable[..., Problem]:
    """Makes problems of vectors in a box: ``vector_problem("x0 * x1")``, ``vector_problem(f, bounds=[[0, 2]])``."""

    def make(*forward: str, bounds: Sequence[Sequence[float]] = ((-1, 1), (-1, 1)), rmse: float = 0.05) -> Problem:
        return box_problem(bounds, list(forward) or ["sin(3*pi*x0) + cos(3*pi*x1)"], {"rmse": rmse})

    return make


@pytest.fixture(scope="session")
def write_mnist() -> Callable[..., Path]:
    """Writes the four files of MNIST, with few random images, into a folder: ``write_mnist(folder, train=240)``."""

    def write(folder: Path, train: int = 240, test: int = 40, side: int = 28, labels: int = 10) -> Path:
        rng = np.random.default_rng(0)
        for name, count in (("train", train), ("t10k", test)):
            images = rng.integers(0, 256, (count, side, side), dtype=np.uint8).tobytes()
            header = struct.pack(">4B3I", 0, 0, 8, 3, count, side, side)
            (folder / f"{name}-images-idx3-ubyte").write_bytes(header + images)
            classes = (np.arange(count) % labels).astype(np.uint8).tobytes()
            (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, count) + classes)
        return folder

    return write


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where reference sets are kept: those of the small config are the same in most tests, and take a second."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shipped(tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DictConfig]:
    """Composes the shipped config, made small, with further overrides; but for the cache it writes to ``tmp_path``."""
    monkeypatch.setenv("CVAE_CACHE", str(cache_folder))

    def make(*overrides: str, small: Sequence[str] = SMALL) -> DictConfig:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("train", overrides=[*small, f"run_dir={tmp_path}", *overrides])

    return make


#: what ``settle`` has found of problems
LOOKS: dict[str, Any] = {}


@pytest.fixture
def looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets ``settle`` look at a problem once for all tests: it takes half a second, and always finds the same."""
    for function in (gradient_alignment, has_isolated_solutions):

        def once(problem: Problem, function: Callable[[Problem], Any] = function) -> Any:
            key = f"{function.__name__} {problem.config}"
            if key not in LOOKS:
                LOOKS[key] = function(problem)
            return LOOKS[key]

        monkeypatch.setattr(f"cvae.runs.settle.{function.__name__}", once)
