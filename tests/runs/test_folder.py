"""What a run's folder says about the run in it."""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest

from cvae.errors import DivergedError, UserError
from cvae.runs.folder import (
    LAST,
    OwnLog,
    Start,
    check_own,
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"value": "abc"}', "is damaged: value is 'abc', not a number"),
        ('{"measures": {"a": [1]}}', "is damaged: measures is .*, not numbers by name"),
        ('{"overrides": "seed=1"}', "is damaged: overrides is 'seed=1', not a list of texts"),
        ('{"config": [1]}', r"is damaged: config is \[1\], not entries by name"),
        ('{"value": 1' + "0" * 400 + "}", "is damaged: value is 1000"),
        ("[" * 100_000, "is nested too deeply"),
        ("[]", "holds no record of a run"),
        ("\ud800", "is no text file"),
    ],
)
def test_a_record_of_other_types_is_told_before_it_is_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "result.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(UserError, match=rf"result\.json: {message}"):
        read(tmp_path)


def test_what_is_no_plain_file_is_no_record_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "result.json")
    with pytest.raises(UserError, match=r"result\.json: is no plain file"):
        read(tmp_path)


def test_nothing_of_a_record_steers_the_terminal(tmp_path: Path) -> None:
    record(tmp_path, status="failed\x1b[2J", overrides=["a=\x07"], config={"\x1b[31m": {"b": "\x9b"}}, error="one\ntwo")
    found = read(tmp_path)
    assert found == {
        "status": "failed\\x1b[2J",
        "overrides": ["a=\\x07"],
        "config": {"\\x1b[31m": {"b": "\\x9b"}},
        "error": "one\ntwo",
    }


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


def test_a_diverged_run_has_a_status_of_its_own(tmp_path: Path) -> None:
    mark_running(tmp_path, Start("x"), SETTINGS, [])
    mark_failed(tmp_path, "x", DivergedError("not finite"), "not finite")
    found = read(tmp_path)
    assert found is not None
    assert (found["status"], found["error"], found["stack"]) == ("diverged", "not finite", None)
    assert is_free_for(tmp_path, "y")


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("train.log", "link", "is a link, but a run needs a plain file"),
        ("result.json", "pipe", "is a pipe, but a run needs a plain file"),
        ("config.yaml", "folder", "is a folder, but a run needs a plain file"),
        ("events.out.tfevents.1.x", "dangling link", "is a link, but a run needs a plain file"),
        ("checkpoints", "link", "is a link, but a run needs a folder"),
        ("figures", "file", "is a file, but a run needs a folder"),
        ("checkpoints/last.ckpt", "link", "is a link, but a run needs a plain file"),
        ("csv/metrics.csv", "dangling link", "is a link, but a run needs a plain file"),
        ("figures/deep/down", "folder link", "is a link, but a run needs a plain file"),
    ],
)
def test_what_leads_out_of_a_runs_folder_or_blocks_is_refused(tmp_path: Path, name: str, kind: str, told: str) -> None:
    path, victim = tmp_path / "run" / name, tmp_path / "victim"
    path.parent.mkdir(parents=True)
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "file": Path.touch}
    make.get(kind, lambda path: path.symlink_to(victim))(path)
    if kind == "folder link":
        victim.mkdir()
    elif kind == "link":
        victim.touch()
    with pytest.raises(UserError, match=f"{name}: {told} there. Remove it, or choose another folder"):
        check_own(tmp_path / "run")


def test_what_a_run_does_not_write_is_not_its_business(tmp_path: Path) -> None:
    for name in ("checkpoints/last.ckpt", "csv/metrics.csv", "train.log", "result.json", "wandb/run/x.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes").symlink_to("/")
    # that service makes links itself
    (tmp_path / "wandb" / "latest-run").symlink_to(tmp_path / "wandb" / "run")
    check_own(tmp_path)


@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_a_log_is_written_to_a_plain_file_alone(tmp_path: Path, kind: str) -> None:
    path, victim = tmp_path / "train.log", tmp_path / "victim"
    victim.write_text("mine")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("before\n")
    handler = OwnLog(path)
    handler.emit(logging.makeLogRecord({"msg": "said"}))
    handler.close()
    assert victim.read_text() == "mine"
    if kind == "file":
        assert path.read_text() == "before\nsaid\n"
