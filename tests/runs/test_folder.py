"""What a run's folder says about the run in it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cvae.runs.folder import (
    LAST,
    Start,
    clear,
    finished_value,
    identify,
    is_free_for,
    mark_failed,
    mark_running,
    read,
    taken,
)

SETTINGS = {
    "seed": 1,
    "loss": {"beta": 0.5},
    "data": {"points": 50, "cache": "/a"},
    "callbacks": {"stop": {"after": 3}},
}


def record(folder: Path, **entries: Any) -> None:
    (folder / "result.json").write_text(json.dumps(entries))


def checkpoint(folder: Path) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / LAST).touch()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"loss": {"beta": 0.25}},
        {"loss": {"beta": 0.5, "wx": 1}},
        {"callbacks": {"stop": {"after": 4}}},
        {"data": {"points": 51, "cache": "/a"}},
    ],
)
def test_another_setting_is_another_run(change: dict[str, Any]) -> None:
    assert identify(SETTINGS | change) != identify(SETTINGS)


@pytest.mark.parametrize(
    "change",
    [
        {"run_dir": "/b"},
        {"threads": 4},
        {"logger": {"csv": None}},
        {"data": {"points": 50, "cache": "/b"}},
        {"callbacks": {"stop": {"after": 3}, "progress": {"refresh_rate": 1}, "figures": None}},
    ],
)
def test_where_and_how_fast_a_result_is_found_is_no_other_run(change: dict[str, Any]) -> None:
    assert identify(SETTINGS | change) == identify(SETTINGS)


def test_only_the_same_run_that_has_finished_gives_a_value(tmp_path: Path) -> None:
    assert finished_value(tmp_path, "a") is None
    record(tmp_path, status="running", config_hash="a")
    assert finished_value(tmp_path, "a") is None
    record(tmp_path, status="finished", config_hash="a", value=0.25)
    assert finished_value(tmp_path, "a") == 0.25
    assert finished_value(tmp_path, "b") is None
    record(tmp_path, status="finished", config_hash="a", value=None)
    value = finished_value(tmp_path, "a")
    assert value is not None
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("status", "config_hash", "epochs", "free"),
    [
        (None, None, False, True),
        (None, None, True, False),  # checkpoints of nobody knows what
        ("running", "a", True, True),
        ("failed", "a", True, True),
        ("finished", "b", True, False),
        ("finished", "b", False, False),
        ("running", "b", False, False),
        ("failed", "b", True, False),
        ("failed", "b", False, True),  # nothing was reached that could be lost
    ],
)
def test_a_folder_is_free_where_nothing_of_another_run_is_lost(
    tmp_path: Path, status: str | None, config_hash: str | None, epochs: bool, free: bool
) -> None:
    if status is not None:
        record(tmp_path, status=status, config_hash=config_hash)
    if epochs:
        checkpoint(tmp_path)
    assert is_free_for(tmp_path, "a") is free


def test_a_taken_folder_says_what_differs(tmp_path: Path) -> None:
    mark_running(tmp_path, Start("x"), SETTINGS, ["seed=1"])
    error = taken(tmp_path, SETTINGS | {"seed": 2, "loss": {"beta": 0.5, "wx": 1}})
    assert "it holds a running run with another config: " in str(error)
    assert "loss.wx is not set there and 1 here; seed is 1 there and 2 here." in str(error)
    assert "beta" not in str(error)


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"status": ')
    with pytest.raises(ValueError, match=r"result\.json: cannot be read"):
        read(tmp_path)


def test_a_failure_keeps_what_is_known_of_the_run(tmp_path: Path) -> None:
    mark_running(tmp_path, Start("x"), SETTINGS, ["seed=1"])
    mark_failed(tmp_path, "x", KeyError("gone"), None)
    found = read(tmp_path)
    assert found is not None
    assert (found["status"], found["config_hash"], found["config"]) == ("failed", "x", SETTINGS)
    assert found["error"] == "KeyError: 'gone'"
    assert "KeyError" in found["stack"]
    mark_failed(tmp_path, "x", ValueError("long story"), "the seed is odd.")
    assert read(tmp_path)["error"] == "the seed is odd."  # type: ignore[index]


def test_clearing_leaves_what_no_run_wrote(tmp_path: Path) -> None:
    record(tmp_path, status="failed")
    checkpoint(tmp_path)
    (tmp_path / "notes.txt").touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
