"""The progress bar."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cvae.runs.launch import run

SMALL_WITH_BAR = (
    "data.source.train=64",
    "data.source.validation=16",
    "data.batch_size=32",
    "data.evaluation.validation=4",
    "data.evaluation.references=0",
    "generation.draws=5",
    "trainer.max_epochs=3",
    "test=false",
    "logger={}",
    "loss.set_objective.weight=0",
)


def test_a_terminal_shows_the_epochs_and_the_newest_measures(
    shipped: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run(shipped(small=SMALL_WITH_BAR), tmp_path / "run")
    shown = [part for part in capsys.readouterr().out.replace("\n", "\r").split("\r") if part.startswith("Epoch")]
    assert {f"Epoch {epoch}/3" for epoch in (1, 2, 3)} <= {part[:9] for part in shown}
    loss = json.loads((tmp_path / "run" / "result.json").read_text())["measures"]["train/loss"]
    assert shown[-1].startswith("Epoch 3/3: 100%")
    assert f"train/loss={loss:.3g}, val/score=" in shown[-1]


def test_a_file_has_lines_and_no_bar(
    shipped: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cvae.show.progress.QUIET_S", 0.0)
    with caplog.at_level("INFO"):
        run(shipped("trainer.max_epochs=2", small=SMALL_WITH_BAR), tmp_path / "run")
    assert "Epoch" not in capsys.readouterr().out
    told = [message for message in caplog.messages if message.startswith("epoch ")]
    assert [message[:12] for message in told] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert ", train/loss 0." in told[1]
    assert ", val/score 0" in told[1]
