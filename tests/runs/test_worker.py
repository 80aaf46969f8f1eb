"""One of several processes does not outlive the command that it belongs to."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvae.errors import DivergedError
from cvae.runs import worker
from cvae.runs.folder import Start, mark_running, read
from cvae.runs.launch import LEVEL, STARTER

#: another signal first, which is no matter of it
STOPS = (signal.SIGUSR1, signal.SIGTERM)


class EndedError(Exception):
    """Stands in for the end of the process."""


@pytest.fixture
def silence() -> Iterator[int]:
    """A descriptor that tells nothing."""
    told, tell = os.pipe()
    yield told
    os.close(told)
    os.close(tell)


@pytest.fixture(autouse=True)
def ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        assert code == 1
        raise EndedError

    monkeypatch.setattr(os, "_exit", end)


def test_a_process_ends_when_torchrun_is_gone(monkeypatch: pytest.MonkeyPatch, silence: int) -> None:
    monkeypatch.delenv(STARTER, raising=False)
    with pytest.raises(EndedError):
        worker.end_with_starter(os.getppid() + 1, silence)


def test_a_process_ends_when_the_command_is_gone(monkeypatch: pytest.MonkeyPatch, silence: int) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    monkeypatch.setenv(STARTER, str(gone.pid))
    with pytest.raises(EndedError):
        worker.end_with_starter(os.getppid(), silence)


def test_a_process_goes_on_while_both_are_there(monkeypatch: pytest.MonkeyPatch, silence: int) -> None:
    monkeypatch.setenv(STARTER, str(os.getpid()))
    waited = []

    def select(told: list[int], *rest: Any) -> tuple[list[int], list[int], list[int]]:
        waited.append((told, rest[-1]))
        if len(waited) == 3:
            raise StopIteration
        return [], [], []

    monkeypatch.setattr(worker.select, "select", select)
    with pytest.raises(StopIteration):
        worker.end_with_starter(os.getppid(), silence, every_s=0.25)
    assert waited == [([silence], 0.25)] * 3


def test_a_process_that_is_asked_to_end_does_so_whatever_handles_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STARTER, str(os.getpid()))
    heard: list[int] = []
    before = {number: signal.signal(number, lambda number, _: heard.append(number)) for number in STOPS}
    told = worker.signals()
    try:
        for number in STOPS:
            os.kill(os.getpid(), number)
        with pytest.raises(EndedError):
            worker.end_with_starter(os.getppid(), told, every_s=60)
    finally:
        signal.set_wakeup_fd(-1)
        os.close(told)
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == list(STOPS)


def test_a_mistake_of_the_users_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    mark_running(tmp_path, Start("x"), {}, [])

    def train(*given: Any) -> None:
        raise DivergedError("the loss is no number")

    for name, value in {"train": train, "set_up_logging": print, "end_with_starter": print, "signals": int}.items():
        monkeypatch.setattr(worker, name, value)
    monkeypatch.setattr("sys.argv", ["worker", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        worker.main()
    assert (caught.value.code, capsys.readouterr().err) == (1, "error: the loss is no number\n")
    assert (read(tmp_path) or {})["status"] == "diverged"


def test_a_process_is_as_quiet_as_the_one_that_started_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    levels = {name: logging.getLogger(name).level for name in ("cvae", "lightning.pytorch", "lightning.fabric")}
    monkeypatch.setenv(LEVEL, str(logging.WARNING))
    try:
        worker.set_up_logging(tmp_path)
        assert not logging.getLogger("cvae.runs.train").isEnabledFor(logging.INFO)
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
