"""Files that are written whole or not at all, and read where they are plain ones."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cvae.errors import MissingFileError, UserError

#: bytes of a text that is read at once
TEXT = 2**28


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is renamed to ``path``, on failure removed.

    Raises:
        OSError: if the folder cannot be written to; it names ``path``.
    """
    with named(path), _beside(Path(path)) as temporary:
        yield temporary


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Let errors of the system name ``path``, in place of what is made beside it for a while."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # not by tempfile, whose files are the owner's alone: these get the rights that the user's umask leaves
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    temporary.open("xb").close()
    try:
        yield temporary
        # on the disk before it has its name, and the name as well: a power cut leaves the old file or the new one
        _sync(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    try:
        _sync(path)
    except OSError as error:
        # file systems that know of no such thing for a folder, as SMB and some of FUSE
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES):
            raise


def check_output(name: str, path: str | Path) -> None:
    """Check before the work that a file can be written; folders that are missing are made when it is written.

    Args:
        name: of the entry that names it.
        path: of the file.

    Raises:
        UserError: for a folder, or a file in a folder that cannot be written to.
    """
    path = place = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{name} is {path}, which is a folder; name a file in it.")
        # nothing can be made behind a link to nothing
        place = next(each for each in path.absolute().parents if each.exists() or each.is_symlink())
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise UserError(
            f"{name} is {path}, but {place} cannot be written to ({error.strerror}); name another place."
        ) from None


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON, whole or not at all; numbers that are not finite become null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Copy of nested plain data with nan and inf replaced by None, which JSON can hold."""
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


@contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open a plain file to read its bytes; nothing is waited for, as a FIFO or a terminal would have it.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for what is no plain file, or may not be read.
    """
    try:
        file = open(path, "rb", opener=_at_once)  # noqa: SIM115 - it is closed below
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name a file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be opened ({reason}); name a file that you may read.") from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UserError(f"{path}: is no plain file, but a FIFO or a device; name a file.")
        yield file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The text of a plain file.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for what is no plain file, may not be read, is longer than :data:`TEXT` or is no text.
    """
    with opened(path) as file:
        content = file.read(TEXT + 1)
    if len(content) > TEXT:
        raise UserError(
            f"{path}: has more than {TEXT:,} bytes, which is the most that a text may have; save a table as .npz."
        )
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text file: byte {error.start} is {content[error.start]:#04x}.") from None
