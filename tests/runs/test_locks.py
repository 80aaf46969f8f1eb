"""One process at a time in a folder, and no lock that outlives its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cvae.errors import UserError
from cvae.runs.locks import LOCK, FolderInUseError, in_use, locked


def test_a_folder_is_held_once(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert in_use(tmp_path)
        with (
            pytest.raises(
                FolderInUseError, match=rf"{re.escape(str(tmp_path))}: process {os.getpid()} on .* is working"
            ),
            locked(tmp_path, patience_s=0.1),
        ):
            pytest.fail("the folder was given away twice")
        assert in_use(tmp_path)
    assert not in_use(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path, patience_s=0):
        pass


def test_folders_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with locked(tmp_path / "a"), locked(tmp_path / "b", patience_s=0):
        pass


def test_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path, patience_s=0):
        pass


def test_looking_whether_a_folder_is_held_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    looking = os.open(tmp_path / LOCK, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    started = time.monotonic()
    with pytest.raises(FolderInUseError), locked(tmp_path, patience_s=0.2):
        pass
    assert time.monotonic() - started >= 0.2
    os.close(looking)
    with locked(tmp_path, patience_s=0):
        pass


def test_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    code = "import sys, time, pathlib; from cvae.runs.locks import locked\n"
    code += "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(FolderInUseError, match=rf"process {holder.pid} on"),
            locked(tmp_path, patience_s=0),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    assert not in_use(tmp_path)
    with locked(tmp_path, patience_s=0):
        pass


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_what_is_no_plain_file_in_the_place_of_the_lock_is_refused_and_left(tmp_path: Path, kind: str) -> None:
    lock, victim = tmp_path / "run" / LOCK, tmp_path / "victim"
    lock.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(victim)
    if kind == "link":
        victim.write_text("mine")
    assert not in_use(tmp_path / "run")
    with pytest.raises(UserError, match=rf"\.lock: is a {kind.split()[-1]}, but"), locked(tmp_path / "run"):
        pytest.fail("the folder was held")
    assert lock.is_symlink() or lock.exists()
    assert (victim.read_text() == "mine") if kind == "link" else not victim.exists()


def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path):
        pass
    assert "this file system has no locks" in caplog.text
    assert not in_use(tmp_path)
