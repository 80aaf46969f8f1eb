"""What a user reads when something is wrong: one message for a mistake of theirs, the whole stack for a bug."""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import InstantiationException
from omegaconf.errors import OmegaConfBaseException

FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
UNUSABLE = (
    "{}: cannot be used ({}). Results are written elsewhere with hydra.run.dir=... (those of a sweep with "
    "hydra.sweep.dir=..., of another command with out=...), reference sets with CVAE_CACHE=... in the environment."
)


#: what torch says in place of a MemoryError
NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "Storage size calculation overflowed", "multiplication overflow")
#: the remedy, which is the same for all that lack memory
SMALLER = (
    "Make it smaller: a network by model.hidden, a step by data.batch_size or evaluation.draws, the data by "
    "data.source.train."
)

#: characters of the longest message: a file may hold a word of any length
LONGEST = 4_000


def printable(text: str) -> str:
    """``text`` with escapes in place of characters that would steer a terminal; lines and tabs stay."""
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode("ascii") for one in text
    )


class UserError(ValueError):
    """A mistake that the user can mend; its message is shown without a stack."""

    def __str__(self) -> str:
        text = ValueError.__str__(self)
        return printable(text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text):,} characters)")


class MissingFileError(UserError, FileNotFoundError):
    """A file that the user named and that is not there."""


class DivergedError(UserError):
    """A training whose loss or weights are no numbers any more."""


class DiskError(OSError):
    """A disk that is full or cannot be written to."""


def user_message(error: BaseException) -> str | None:
    """The message of a mistake of the user's or of the disk, or of too little memory; None for any other error, whose
    stack is needed.

    Mistakes are told by :class:`UserError`, by Lightning's ``MisconfigurationException`` and by omegaconf.
    """
    cause = innermost(error)
    # an error of Lightning's can only come where it was imported, which takes seconds
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    if lightning is not None and isinstance(cause, lightning.MisconfigurationException):
        return str(cause)
    if isinstance(cause, UserError | DiskError | OmegaConfBaseException):
        return str(cause)
    return _memory_message(error, cause) if _lacks_memory(cause) else None


def _lacks_memory(error: BaseException) -> bool:
    # torch's own class for a GPU is a RuntimeError
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in NO_MEMORY)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def _memory_message(error: BaseException, cause: BaseException) -> str:
    """What to do about too little memory."""
    # Hydra's error tells what was being built, torch and numpy tell how much they were asked for
    built, asked = re.search(r"target '(.*?)'", str(error)), re.search(r"allocate ([\d.]+) (\w+)", str(cause))
    amount, unit = asked.groups() if asked else ("", "")
    if unit == "bytes":
        size = float(amount) / 1e9
        amount, unit = f"{size:,.0f}" if size >= 10 else f"{size:.2g}", "GB"
    return (
        f"{built[1] if built else 'this'} asks for {f'{amount} {unit}, ' if asked else ''}more memory than is left. "
        f"{SMALLER}"
    )


def innermost(error: BaseException) -> BaseException:
    """What Hydra has wrapped into an error of its own while building something."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show what a user can mend as one message on stderr, and end with status 1.

    ``HYDRA_FULL_ERROR=1`` shows the traceback instead.
    """
    try:
        yield
    except Exception as error:
        message = user_message(error)
        if message is None and isinstance(error, OSError):
            message = disk_message(error, Path.cwd()) or _told(error)
        if message is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {printable(message)}", file=sys.stderr)
        raise SystemExit(1) from None


def _told(error: OSError) -> str:
    return UNUSABLE.format(error.filename, error.strerror) if error.filename else str(error)


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
            "ones are kept. Free some space and re-run the same command; a training resumes from its last whole epoch."
        )
    if error.errno in UNWRITABLE:
        return UNUSABLE.format(where, error.strerror)
    return None


def check_writable(folder: Path) -> None:
    """Make ``folder`` and see that files can be written to it.

    Raises:
        DiskError: if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
    except OSError as error:
        raise DiskError(disk_message(error, folder) or UNUSABLE.format(folder, error.strerror)) from error
