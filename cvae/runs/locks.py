"""One process at a time in a run's folder."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows, where folders are not locked
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

LOCK = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class FolderInUseError(ValueError):
    """Another process works in a run's folder."""


@contextmanager
def locked(folder: Path, patience_s: float = 0.5) -> Iterator[int | None]:
    """Hold ``folder`` for this process.

    The operating system lets go of the lock when its holder ends, however it ends, so that nothing is left to clean up
    after a process that was killed.

    Args:
        folder: exists.
        patience_s: seconds to wait for another holder, who may only be looking.

    Yields:
        The descriptor of the lock; a child process that inherits it holds the lock too. None where the file system has
        no locks.

    Raises:
        FolderInUseError: if another process holds it.
    """
    path = folder / LOCK
    held = _acquire(path, patience_s) if fcntl is not None else None
    if held is None:
        yield None
        return
    try:
        os.ftruncate(held, 0)
        os.write(held, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield held
    finally:
        # removed while it is held, so that nobody else can have locked it in between
        path.unlink(missing_ok=True)
        os.close(held)


def in_use(folder: Path) -> bool:
    """Whether a process holds ``folder`` now."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in UNSUPPORTED
    finally:
        os.close(descriptor)
    return False


def _acquire(path: Path, patience_s: float) -> int | None:
    deadline = time.monotonic() + patience_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise FolderInUseError(
                f"{path.parent}: {holder} is working in this folder. Wait for it or stop it, or choose another folder "
                "(hydra.run.dir=..., hydra.sweep.dir=...)."
            ) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in UNSUPPORTED:
                raise
            log.warning("%s: this file system has no locks; start no second process on this folder.", path.parent)
            return None
        if _is_at(descriptor, path):
            return descriptor
        # the holder before removed the file between our opening and our locking it
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
