"""Files in the idx format, in which MNIST is published: http://yann.lecun.com/exdb/mnist (LeCun et al. 1998)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from cvae.errors import MissingFileError, UserError
from cvae.files import opened

#: third byte of the magic number: values are unsigned bytes
UNSIGNED_BYTE = 0x08
#: values of the largest file that is read; the images of MNIST are 47 million
MOST = 2**28


def find_idx(folder: str | Path, name: str) -> Path:
    """The file ``name`` or ``name.gz`` in ``folder``.

    Raises:
        MissingFileError: if there is neither.
    """
    candidates = [Path(folder, name), Path(folder, f"{name}.gz")]
    for path in candidates:
        if path.is_file():
            return path
    raise MissingFileError(f"{candidates[0]}: no such file, nor {candidates[1].name}.")


def read_idx(path: str | Path, dims: int) -> Tensor:
    """The array of unsigned bytes of an idx file, gzipped or not.

    Args:
        path: the file; gzipped if it ends in ``.gz``.
        dims: number of dimensions that the array must have.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for a file that is truncated or too long, of another kind, or, if it is gzipped, of a wrong checksum.
    """
    path = Path(path)
    with opened(path) as file:
        try:
            return _array(path, gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file, dims)
        except (gzip.BadGzipFile, EOFError, zlib.error, struct.error):
            raise UserError(f"{path}: is damaged or cut short; get the file again.") from None


def _array(path: Path, file: BinaryIO | gzip.GzipFile, dims: int) -> Tensor:
    """What follows a header, read as far as that says: a short file may inflate to any length."""
    magic, head = bytes([0, 0, UNSIGNED_BYTE, dims]), file.read(4 + 4 * dims)
    if head[:4] != magic:
        raise UserError(
            f"{path}: is no idx file of unsigned bytes in {dims} dimension(s): it begins with {head[:4].hex()}, not "
            f"{magic.hex()}."
        )
    if len(head) < 4 + 4 * dims:
        raise UserError(f"{path}: is truncated within its header; get the file again.")
    shape = struct.unpack(f">{dims}I", head[4:])
    says = f"its header says {' x '.join(map(str, shape))}"
    if math.prod(shape) > MOST:
        raise UserError(f"{path}: {says}, which are more than {MOST:,} values; it is damaged, get the file again.")
    # one more, at which a longer file shows, and a gzipped one its checksum
    values = file.read(math.prod(shape) + 1)
    if len(values) != math.prod(shape):
        held = len(values) if len(values) < math.prod(shape) else "more"
        raise UserError(f"{path}: holds {held} values, but {says}; it is damaged, get the file again.")
    # a copy: the bytes of a file cannot be written to
    return torch.frombuffer(bytearray(values), dtype=torch.uint8).view(shape) if values else torch.empty(shape).byte()
