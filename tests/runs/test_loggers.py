"""The logs of a run that goes on."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cvae.runs.loggers import build_loggers


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def entry(folder: Path, logger: str = "CSVLogger", version: str = "csv") -> DictConfig:
    target = f"lightning.pytorch.loggers.{logger}"
    return OmegaConf.create({"_target_": target, "save_dir": str(folder), "name": "", "version": version})


def log(logger: Logger, *rows: tuple[int, dict[str, Any]]) -> None:
    for step, measures in rows:
        logger.log_metrics(measures, step)
        logger.save()


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    [first] = build_loggers([entry(tmp_path), None], None)
    log(first, *((step, {"epoch": step // 2, "loss": step / 10}) for step in (1, 3, 5)))
    return tmp_path


def test_a_resumed_run_goes_on_in_one_file(logged: Path, recwarn: pytest.WarningsRecorder) -> None:
    before = rows(logged)
    [second] = build_loggers([entry(logged)], 6)
    assert rows(logged) == before
    log(second, (7, {"loss": 0.7, "score": 1.0}), (9, {"score": 2.0}))
    assert [row["step"] for row in rows(logged)] == ["1", "3", "5", "7", "9"]
    assert [row["loss"] for row in rows(logged)] == ["0.1", "0.3", "0.5", "0.7", ""]
    assert [row["score"] for row in rows(logged)] == ["", "", "", "1.0", "2.0"]
    assert not recwarn.list


def test_what_will_be_logged_again_is_dropped(logged: Path) -> None:
    with (logged / "csv" / "metrics.csv").open("a") as file:
        file.write("0.7")  # cut short
    build_loggers([entry(logged)], 4)
    assert [row["step"] for row in rows(logged)] == ["1", "3"]


def test_a_resumed_run_may_have_no_log(tmp_path: Path) -> None:
    [logger] = build_loggers([entry(tmp_path)], 4)
    log(logger, (5, {"loss": 0.5}))
    assert [row["step"] for row in rows(tmp_path)] == ["5"]


def test_a_new_run_starts_an_empty_log(logged: Path) -> None:
    [logger] = build_loggers([entry(logged)], None)
    with pytest.warns(UserWarning, match="will be deleted"):
        log(logger, (1, {"loss": 0.5}))
    assert [row["loss"] for row in rows(logged)] == ["0.5"]


def test_tensorboard_reads_a_log_that_goes_on_at_once_in_order(tmp_path: Path) -> None:
    # at the beginning of a second, so that both could be begun in it
    time.sleep(1 - time.time() % 1)
    for steps, begin in (((1, 3), None), ((5, 7), 4)):
        [board] = build_loggers([entry(tmp_path, "TensorBoardLogger", "board")], begin)
        log(board, *((step, {"loss": float(step)}) for step in steps))
        board.finalize("success")
        for path in (tmp_path / "board").glob("events.*"):
            # the process that is interrupted has the larger number here
            if begin is None:
                second = path.name.split(".")[3]
                path.rename(path.with_name(f"events.out.tfevents.{second}.zzz.99999999.0"))
    events = EventAccumulator(str(tmp_path / "board")).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 3, 5, 7]
