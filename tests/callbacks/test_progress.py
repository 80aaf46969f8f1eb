"""The progress bar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cvae.callbacks import TrainingProgress
from cvae.training import train

SMALL_WITH_BAR = (
    "data.source.train=64",
    "data.source.validation=16",
    "data.batch_size=32",
    "data.evaluation.validation=4",
    "generation.count=5",
    "trainer.max_epochs=3",
    "test=false",
    "logger={}",
)


def test_one_line_for_the_whole_training(shipped: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(shipped(small=SMALL_WITH_BAR), tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 1
    assert lines[0].startswith("epoch 3/3 ")
    assert "train/loss" in lines[0]
    assert "val/score" in lines[0]
    assert (json.loads((tmp_path / "result.json").read_text()))["status"] == "finished"


def test_other_processes_show_none(capsys: pytest.CaptureFixture[str]) -> None:
    bar = TrainingProgress()
    bar.disable()
    bar.on_train_start(None, None)  # type: ignore[arg-type]
    bar.on_train_end(None, None)  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""


def test_it_must_be_updated_every_so_many_steps() -> None:
    with pytest.raises(ValueError, match=r"every_steps is 0; it must be at least 1"):
        TrainingProgress(every_steps=0)
