"""One of several processes does not outlive the command that it belongs to."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvae.runs import worker
from cvae.runs.launch import LEVEL, STARTER


class EndedError(Exception):
    """Stands in for the end of the process."""


@pytest.fixture(autouse=True)
def ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        assert code == 1
        raise EndedError

    monkeypatch.setattr(os, "_exit", end)


def test_a_process_ends_when_torchrun_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STARTER, raising=False)
    with pytest.raises(EndedError):
        worker.end_with_starter(parent=os.getppid() + 1)


def test_a_process_ends_when_the_command_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    monkeypatch.setenv(STARTER, str(gone.pid))
    with pytest.raises(EndedError):
        worker.end_with_starter(parent=os.getppid())


def test_a_process_goes_on_while_both_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STARTER, str(os.getpid()))
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            monkeypatch.setenv(STARTER, "0")
            raise StopIteration

    monkeypatch.setattr(worker.time, "sleep", sleep)
    with pytest.raises(StopIteration):
        worker.end_with_starter(parent=os.getppid(), every_s=0.25)
    assert waited == [0.25] * 3


def test_a_process_is_as_quiet_as_the_one_that_started_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    levels = {name: logging.getLogger(name).level for name in ("cvae", "lightning.pytorch", "lightning.fabric")}
    monkeypatch.setenv(LEVEL, str(logging.WARNING))
    try:
        worker.set_up_logging(tmp_path)
        assert not logging.getLogger("cvae.runs.train").isEnabledFor(logging.INFO)
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
