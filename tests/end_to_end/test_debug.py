"""The debug overlays do what they say."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from cvae.runs.launch import run


def test_fast_dev_run_goes_through_everything_and_keeps_nothing(shipped: Any, tmp_path: Path) -> None:
    value = run(shipped("debug=fast_dev_run"), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["value"] == value
    assert result["checkpoint"] is None
    assert {"train/loss", "val/score", "test/score"} <= set(result["measures"])
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("reference-")}
    assert left == {"result.json", "config.yaml"}


def test_overfit_learns_one_batch_by_heart(shipped: Any, tmp_path: Path) -> None:
    overrides = (
        "data.source.train=${data.batch_size}",
        "trainer.max_epochs=200",
        "trainer.check_val_every_n_epoch=200",
    )
    run(shipped("debug=overfit", "model=dense", *overrides, "test=false", "logger.tensorboard=null"), tmp_path)
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 200
    assert losses[-1] < losses[0] / 20


def test_profiler_reports_where_the_time_goes(shipped: Any, tmp_path: Path) -> None:
    run(shipped("debug=profiler", "test=false", "logger={}"), tmp_path)
    assert "run_training_batch" in (tmp_path / "fit-profile.txt").read_text()
