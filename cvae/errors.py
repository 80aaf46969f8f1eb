"""What a user reads when something is wrong: one message for a mistake of theirs, the whole stack for one of ours."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import InstantiationException
from omegaconf.errors import OmegaConfBaseException

FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
UNUSABLE = (
    "{}: cannot be used ({}). Results are written elsewhere with hydra.run.dir=... (those of a sweep with "
    "hydra.sweep.dir=...), reference sets with CVAE_CACHE=... in the environment."
)


class DiskError(OSError):
    """A disk that is full or cannot be written to."""


def user_message(error: BaseException) -> str | None:
    """The message of a check that failed, in this package or in Lightning's; None for any other error.

    A failed check is a ``ValueError``, ``FileNotFoundError``, ``ChildProcessError`` or :class:`DiskError` that code of
    this package raised itself: one that comes from a library called with wrong values is a bug, whose stack is needed.
    """
    error = innermost(error)
    # an error of Lightning's can only come where it was imported, which takes seconds
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    if lightning is not None and isinstance(error, lightning.MisconfigurationException):
        return str(error)
    if isinstance(error, OmegaConfBaseException):
        return str(error)
    kinds = ValueError | FileNotFoundError | ChildProcessError | DiskError
    return str(error) if isinstance(error, kinds) and _raised_in_package(error) else None


def innermost(error: BaseException) -> BaseException:
    """What Hydra has wrapped into an error of its own while building something."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _raised_in_package(error: BaseException) -> bool:
    frames = list(traceback.walk_tb(error.__traceback__))
    package = __name__.split(".", maxsplit=1)[0]
    return bool(frames) and str(frames[-1][0].f_globals.get("__name__")).split(".", maxsplit=1)[0] == package


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show what a user can mend as one message on stderr, and end with status 1.

    ``HYDRA_FULL_ERROR=1`` shows the traceback instead.
    """
    try:
        yield
    except (ValueError, OSError, OmegaConfBaseException) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


@contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of a full or protected disk into a :class:`DiskError` that says what to do.

    Args:
        folder: where the work is done, for errors that name no file.
    """
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        message = disk_message(error, folder)
        if message is None:
            raise
        raise DiskError(message) from error


def disk_message(error: OSError, folder: Path) -> str | None:
    """What to do about a full or protected disk; None for any other error."""
    where = error.filename or folder
    if error.errno in FULL:
        return (
            f"{where}: the disk is full ({error.strerror}). Files that were being written have been removed, whole "
            "ones are kept. Free some space and give the same command again: it goes on from the last whole epoch."
        )
    if error.errno in UNWRITABLE:
        return UNUSABLE.format(where, error.strerror)
    return None


def check_writable(folder: Path) -> None:
    """Make ``folder`` and see that files can be written to it.

    Raises:
        DiskError: if not.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"x" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(disk_message(error, folder) or UNUSABLE.format(folder, error.strerror)) from error
