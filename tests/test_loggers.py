"""The CSV log of a run that goes on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from omegaconf import OmegaConf

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
