"""Files of tensors: looked at before they are read, so that none costs more than its size promises."""

from __future__ import annotations

import errno
import io
import logging
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.errors import UserError
from cvae.files import opened, replacing

log = logging.getLogger(__name__)

#: bytes that a file may ask for, or as many times its size as RATIO says; numbers are hardly ever compressed as much
LIMIT, RATIO = 2**28, 20
#: of the compressions of zip those that numpy and torch write
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: types of tensors that are real numbers
REAL = (
    torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
)  # fmt: skip


class ArchiveError(UserError):
    """A file whose content is not what it should be."""


def check_archive(file: BinaryIO) -> None:
    """Check an open zip archive, which ``.npz`` and ``.pt`` files are, against its sizes and checksums.

    Raises:
        ArchiveError: for another format, a file that is cut short, one that inflates past :data:`LIMIT`, or another
            checksum than was written.
    """
    head = file.read(4)
    if not head.startswith(b"PK"):
        raise ArchiveError(f"it is no zip archive, which such a file is: it begins with {head!r}")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            check_size(file, sum(entry.file_size for entry in entries))
            if any(entry.compress_type not in COMPRESSIONS for entry in entries):
                raise ArchiveError("it is compressed in a way that neither numpy nor torch writes")
            wrong = archive.testzip()
    except ArchiveError:
        raise
    except Exception as error:  # zipfile raises many kinds for a damaged file
        if _of_machine(error):
            raise
        raise ArchiveError("it is damaged or cut short") from None
    if wrong is not None:
        raise ArchiveError(f"it is damaged: {wrong!r} in it has another checksum than was written")
    file.seek(0)


def check_size(file: BinaryIO, asked: int) -> None:
    """Check how many bytes an open file asks for.

    Raises:
        ArchiveError: for more than :data:`LIMIT` that are more than :data:`RATIO` times its size.
    """
    size = os.fstat(file.fileno()).st_size
    if asked > max(LIMIT, RATIO * size):
        raise ArchiveError(
            f"its {size:,} bytes ask for {asked:,}; at most {LIMIT:,} are given, or {RATIO} times its size: save it "
            "without compression, and tensors that were expanded as contiguous ones"
        )


def load(path: str | Path, classes: Sequence[type] = ()) -> Any:
    """What a file of ``torch.save`` holds: dense tensors of real numbers on the CPU, plain values, and containers.

    Args:
        path: the file.
        classes: that it may hold beside these.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for what is no plain file, or cannot be read now.
        ArchiveError: for a file that is damaged, asks for more memory than its size promises, or holds anything else.
    """
    try:
        with opened(path) as file:
            check_archive(file)
            content = _plain(file, list(classes))
            tensors = list(_tensors(content))
            wrong = next(filter(None, map(_kind, tensors)), None)
            if wrong is not None:
                raise ArchiveError(
                    f"it holds a tensor that is {wrong}; expected dense ones of real numbers, as float() makes"
                )
            check_size(file, sum(tensor.numel() * tensor.element_size() for tensor in tensors))
            return content
    except ArchiveError as error:
        raise ArchiveError(f"{path}: cannot be loaded safely ({error}).") from None
    except (OSError, MemoryError) as error:
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or "it does not fit into the memory that is left"
        raise UserError(f"{path}: cannot be read now ({reason}); nothing was changed. Try again later.") from None


def _plain(file: BinaryIO, classes: list[Any]) -> Any:
    # torch warns of kinds that are refused here
    with torch.serialization.safe_globals(classes), warnings.catch_warnings(action="ignore"):
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises many kinds, and advises to load what is unsafe
            if _of_machine(error):
                raise
            asked = _foreign(file)
    if asked:
        remedy = "; save numpy's numbers as tensors, or by item()" * all(name.startswith("numpy.") for name in asked)
        raise ArchiveError(f"it asks for {', '.join(asked)}, which could run foreign code{remedy}")
    raise ArchiveError("it is damaged, or holds more than tensors, plain values and containers of these")


def _of_machine(error: Exception) -> bool:
    """Whether an error tells of the memory or the disk, and not of what a file holds."""
    # a place that a damaged file names is an invalid argument
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno != errno.EINVAL)


def _foreign(file: BinaryIO) -> list[str]:
    """Names of what a file asks for beside tensors and plain values."""
    file.seek(0)
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # as above
        return []


def _tensors(content: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers once."""
    waiting, seen = [content], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, list | tuple | set | frozenset):
            waiting.extend(part)
        elif isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, TensorDataset):
            waiting.extend(vars(part).values())


def _kind(tensor: Tensor) -> str | None:
    """What a tensor is beside dense and real; None for nothing."""
    kinds = {
        "nested": tensor.is_nested,
        "quantized": tensor.is_quantized,
        "sparse": tensor.layout != torch.strided,
        "without values (meta)": tensor.is_meta,
        f"of the type {str(tensor.dtype).removeprefix('torch.')}": tensor.dtype not in REAL,
    }
    return next((kind for kind, found in kinds.items() if found), None)


def save(path: str | Path, content: Any) -> None:
    """Write ``content`` with ``torch.save``, whole or not at all.

    Raises:
        OSError: if the folder cannot be written to.
    """
    # torch's own writer tells a full disk by an error without its name
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def cached(path: Path, fits: Callable[[Any], bool]) -> Any:
    """What a cache holds under ``path``; None if it holds nothing, or, with a warning, nothing that can be used.

    Args:
        path: the file.
        fits: whether its content is what the name promises.
    """
    if not os.path.lexists(path):
        return None
    try:
        content = load(path)
    except UserError as error:
        log.warning("%s What it held is made anew.", error)
        return None
    try:
        good = fits(content)
    except Exception:  # whatever is met where something else was expected
        good = False
    if not good:
        log.warning("%s: does not hold what its name says, or values that are not finite; it is made anew.", path)
    return content if good else None
