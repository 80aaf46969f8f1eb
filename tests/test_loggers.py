"""The CSV log of a run that goes on."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cvae.loggers import ContinuedCSVLogger, build_loggers


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def logger(folder: Path) -> ContinuedCSVLogger:
    return ContinuedCSVLogger(folder, name=None, version="csv")


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    first = logger(tmp_path)
    for step in (1, 3, 5):
        first.log_metrics({"loss": step / 10}, step)
        first.save()
    return tmp_path


def test_a_second_logger_goes_on(logged: Path) -> None:
    second = logger(logged)
    second.log_metrics({"loss": 0.7, "score": 1.0}, 7)
    second.save()
    second.log_metrics({"score": 2.0}, 9)
    second.save()
    assert [row["step"] for row in rows(logged)] == ["1", "3", "5", "7", "9"]
    assert [row["loss"] for row in rows(logged)] == ["0.1", "0.3", "0.5", "0.7", ""]
    assert [row["score"] for row in rows(logged)] == ["", "", "", "1.0", "2.0"]


def test_what_will_be_logged_again_is_dropped(logged: Path) -> None:
    with (logged / "csv" / "metrics.csv").open("a") as file:
        file.write("0.7")  # cut short
    logger(logged).rewind(4)
    assert [row["step"] for row in rows(logged)] == ["1", "3"]
    logger(logged / "elsewhere").rewind(4)


def test_a_new_run_starts_an_empty_log(logged: Path) -> None:
    entry = OmegaConf.create(
        {"_target_": "cvae.loggers.ContinuedCSVLogger", "save_dir": str(logged), "name": None, "version": "csv"}
    )
    assert len(build_loggers([entry, None], 4)) == 1
    assert len(rows(logged)) == 2
    build_loggers([entry], None)
    assert rows(logged) == []


def test_tensorboard_reads_a_log_that_goes_on_in_the_same_second_in_order(tmp_path: Path) -> None:
    entry = OmegaConf.create(
        {
            "_target_": "lightning.pytorch.loggers.TensorBoardLogger",
            "save_dir": str(tmp_path),
            "name": "",
            "version": "board",
        }
    )
    # at the beginning of a second, so that both are begun in it
    time.sleep(1 - time.time() % 1)
    for steps, begin in (((1, 3), None), ((5, 7), 4)):
        [board] = build_loggers([entry], begin)
        for step in steps:
            board.log_metrics({"loss": float(step)}, step)
        board.finalize("success")
        for path in (tmp_path / "board").glob("events.*"):
            # the process that is interrupted has the larger number here
            if begin is None:
                second = path.name.split(".")[3]
                path.rename(path.with_name(f"events.out.tfevents.{second}.zzz.99999999.0"))
    events = EventAccumulator(str(tmp_path / "board")).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 3, 5, 7]
