"""One process at a time in a run's folder."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cvae.errors import UserError
from cvae.runs.folder import check_kind

log = logging.getLogger(__name__)

LOCK = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class FolderInUseError(UserError):
    """Another process works in a run's folder."""


@contextmanager
def locked(folder: Path, patience_s: float = 0.5) -> Iterator[None]:
    """Hold ``folder`` for this process; the operating system lets go of the lock however its holder ends.

    On a file system without locks a warning is logged, and the folder is not held.

    Args:
        folder: exists.
        patience_s: seconds to wait for another holder, who may only be looking.

    Raises:
        FolderInUseError: if another process holds it.
        UserError: if there is anything but a plain file in the place of the lock.
    """
    path = folder / LOCK

    def sign(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())

    check_kind(path)
    lock = FileLock(path, timeout=patience_s, on_acquired=sign)
    try:
        lock.acquire()
    except Timeout:
        holder = "another process"
        with suppress(OSError):
            holder = path.read_text() or holder
        raise FolderInUseError(
            f"{folder}: {holder} is working in this folder. Wait for it or stop it, or choose another folder "
            "(hydra.run.dir=..., hydra.sweep.dir=...)."
        ) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        log.warning("%s: this file system has no locks; start no second process on this folder.", folder)
    try:
        yield
    finally:
        if lock.is_locked:
            # removed while it is held; a process that has opened it before sees that and tries again
            path.unlink(missing_ok=True)
            lock.release()


def in_use(folder: Path) -> bool:
    """Whether a process holds ``folder`` now."""
    path = folder / LOCK
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with FileLock(path, blocking=False):
            return False
    except OSError as error:
        return isinstance(error, Timeout)
