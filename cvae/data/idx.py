"""Files in the idx format, in which MNIST is published: http://yann.lecun.com/exdb/mnist (LeCun et al. 1998)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from cvae.errors import MissingFileError, UserError

#: third byte of the magic number: values are unsigned bytes
UNSIGNED_BYTE = 0x08


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
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file.")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{path}: is damaged ({error}); get the file again.") from None
    header = 4 + 4 * dims
    magic = bytes([0, 0, UNSIGNED_BYTE, dims])
    if content[:4] != magic:
        raise UserError(
            f"{path}: is no idx file of unsigned bytes in {dims} dimension(s): it begins with {content[:4].hex()}, not "
            f"{magic.hex()}."
        )
    if len(content) < header:
        raise UserError(f"{path}: is truncated within its header; get the file again.")
    shape = struct.unpack(f">{dims}I", content[4:header])
    if len(content) != header + math.prod(shape):
        raise UserError(
            f"{path}: holds {len(content) - header} values, but its header says {' x '.join(map(str, shape))}; it is "
            "damaged, get the file again."
        )
    # a copy: the bytes of a file cannot be written to
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).view(shape)
