"""The benchmarks' scripts, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir

from tests.conftest import Done, run_main

ROOT = Path(__file__).resolve().parents[3]

#: overrides of a training that lasts about a second
TINY = [
    "data.source.train=64",
    "data.source.validation=16",
    "data.source.test=16",
    "data.batch_size=32",
    "data.evaluation.validation=4",
    "data.evaluation.test=4",
    "data.evaluation.references=2",
    "generation.draws=5",
    "trainer.max_epochs=1",
    "callbacks.figures=null",
]


def word(overrides: list[str]) -> str:
    """The option ``overrides`` of a benchmark."""
    return f"overrides={json.dumps(overrides)}"


@pytest.fixture
def run_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, cache_folder: Path
) -> Callable[..., Done]:
    """Runs ``scripts/benchmarks/NAME.py`` with words of a command line in an empty folder ``work``."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("CVAE_CACHE", str(cache_folder))

    def run(name: str, *words: str) -> Done:
        return run_main(ROOT / "scripts" / "benchmarks" / f"{name}.py", words, monkeypatch, capsys)

    return run


@pytest.fixture
def composing(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets ``hydra.compose`` find the shipped configs."""
    monkeypatch.setenv("CVAE_CACHE", str(cache_folder))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield
