import gzip
import struct

import numpy as np
import pytest
import torch

from cvae.data.idx import find_idx, read_idx
from cvae.errors import MissingFileError, UserError


def idx(values):
    """The bytes of an idx file of unsigned bytes, written from the format's description."""
    return (
        struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    )


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_values_are_read_as_they_were_written(tmp_path, images, pack):
    path = tmp_path / ("images.gz" if pack is gzip.compress else "images")
    path.write_bytes(pack(idx(images)))
    found = read_idx(path, 3)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), images)


def test_the_plain_file_is_found_before_the_gzipped_one(tmp_path):
    for name in ("a.gz", "a", "b.gz"):
        (tmp_path / name).touch()
    assert find_idx(tmp_path, "a") == tmp_path / "a"
    assert find_idx(tmp_path, "b") == tmp_path / "b.gz"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"labels: no such file, nor labels\.gz"):
        find_idx(tmp_path, "labels")
    with pytest.raises(MissingFileError, match="no such file"):
        read_idx(tmp_path / "labels", 1)


def test_no_flipped_byte_of_a_gzipped_file_changes_what_is_read(tmp_path, images):
    content, told = gzip.compress(idx(images), mtime=0), 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        (tmp_path / "x.gz").write_bytes(damaged)
        try:
            found = read_idx(tmp_path / "x.gz", 3).numpy()
        except UserError:
            told += 1
        else:
            # a few bytes of the gzip header, such as its date, mean nothing
            assert np.array_equal(found, images)
    assert told >= len(content) - 10


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("kept", [0, 3, 9, -1])
def test_a_truncated_file_is_told(tmp_path, images, pack, kept):
    path = tmp_path / ("x.gz" if pack is gzip.compress else "x")
    path.write_bytes(pack(idx(images))[:kept])
    with pytest.raises(UserError, match=r"x(\.gz)?: (is truncated|is damaged|holds|is no idx file)"):
        read_idx(path, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PNG? no idx", "it begins with 504e473f, not 00000803"),
        (idx(np.zeros((2, 3), np.uint8)), "begins with 00000802"),
        (idx(np.zeros((2, 2, 2), np.uint8)) + b"1", "holds more values, but its header says 2 x 2 x 2"),
    ],
)
def test_another_file_is_told(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_idx(tmp_path / "x", 3)
