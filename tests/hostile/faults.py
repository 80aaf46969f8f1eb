"""Processes that are killed at each system call that writes, and disks that are full."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

#: system calls that change a file or a folder
WRITING = (
    "write", "pwrite64", "writev", "rename", "renameat", "renameat2", "link", "unlink", "unlinkat", "mkdir", "rmdir",
    "ftruncate", "fsync", "fdatasync", "fchmod", "chmod", "open", "openat",
)  # fmt: skip


def can_trace() -> bool:
    """Whether strace is here and may hold another process."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


def killed_at(work: Callable[[], object], call: str, number: int) -> bool:
    """Do ``work`` in a fork of this process, which is killed at its ``number``-th system call ``call``.

    Returns:
        Whether it came so far; otherwise it has ended by itself.
    """
    start, go = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # the threads of OpenMP are gone after a fork, and would be waited for
            torch.set_num_threads(1)
            # until strace holds this process
            os.read(start, 1)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    inject = f"inject={call}:signal=KILL:when={number}"
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(child), "-e", f"trace={call}", "-e", inject]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as tracer:
        while "TracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text() and tracer.poll() is None:
            time.sleep(0.002)
        os.write(go, b"1")
        status = os.waitpid(child, 0)[1]
    os.close(start)
    os.close(go)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.WEXITSTATUS(status) == 0, f"the work has failed with status {status}"
    return killed


def kills(
    begin: Callable[[], object], work: Callable[[], object], calls: tuple[str, ...] = WRITING, every: int = 1
) -> Iterator[str]:
    """Kill ``work`` at each of its ``every``-th system calls of each kind in turn; gives control back after each kill.

    Args:
        begin: makes what is there before the work, each time.
        work: what is killed.
        calls: names of system calls.
        every: of the calls of one name.
    """
    for call in calls:
        number = 1
        begin()
        while killed_at(work, call, number):
            yield f"{call} {number}"
            number += every
            begin()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own with ``size`` bytes at ``folder``; needs the rights of root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount() -> bool:
    """Whether this process may mount a file system."""
    return os.geteuid() == 0 and shutil.which("mount") is not None and _mounts()


def _mounts() -> bool:
    # in a container root may not mount
    words = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
