"""Files of tensors: what they ask for is looked at before it is given."""

from __future__ import annotations

import logging
import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvae import archives
from cvae.archives import ArchiveError, cached, load, save
from cvae.errors import DiskError, MissingFileError, UserError, clear_disk_errors


def test_plain_data_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = {"a": torch.rand(3, 2, dtype=torch.float64), "b": [(torch.arange(3), True, None, "text")]}
    save(tmp_path / "a.pt", content)
    found = load(tmp_path / "a.pt")
    assert torch.equal(found["a"], content["a"])
    assert torch.equal(found["b"][0][0], torch.arange(3))
    assert found["b"][0][1:] == (True, None, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(2, dtype=torch.complex64), "it holds a tensor that is of the type complex64"),
        ({"deep": [(torch.zeros(2).to_sparse(),)]}, "it holds a tensor that is sparse"),
        (torch.zeros(2, device="meta"), r"it holds a tensor that is without values \(meta\)"),
        (torch.zeros(1).expand(10**12), r"its [\d,]+ bytes ask for 4,000,000,000,000; at most 268,435,456 are given"),
        (Counter("ab"), None),
        (Path("somewhere"), "it asks for pathlib.*, which could run foreign code"),
        (
            np.float64(1.0),
            "it asks for numpy.*, which could run foreign code; save numpy's numbers as tensors, or by item",
        ),
        (torch.zeros(2, dtype=torch.uint64), r"it .* of the type uint64; expected dense ones .*, as float\(\) makes"),
    ],
)
def test_only_dense_real_tensors_of_what_the_size_promises_are_read(
    tmp_path: Path, content: Any, message: str | None
) -> None:
    torch.save(content, tmp_path / "a.pt")
    if message is None:
        assert load(tmp_path / "a.pt") == content
        return
    with pytest.raises(ArchiveError, match=rf"a\.pt: cannot be loaded safely \({message}") as caught:
        load(tmp_path / "a.pt")
    assert "weights_only" not in str(caught.value)


def test_an_expanded_tensor_of_modest_size_is_read(tmp_path: Path) -> None:
    torch.save(torch.ones(1).expand(1000), tmp_path / "a.pt")
    assert torch.equal(load(tmp_path / "a.pt"), torch.ones(1000))


def test_every_flipped_bit_of_the_numbers_is_noticed(tmp_path: Path) -> None:
    values = torch.rand(20)
    save(tmp_path / "a.pt", values)
    content = (tmp_path / "a.pt").read_bytes()
    start = content.index(values.numpy().tobytes())
    for bit in range(8 * start, 8 * (start + 80), 7):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a.pt").write_bytes(damaged)
        with pytest.raises(ArchiveError, match="has another checksum than was written"):
            load(tmp_path / "a.pt")


def test_an_archive_is_not_inflated_to_see_how_large_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LIMIT", 10_000)
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", bytes(1_000_000))
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda archive: pytest.fail("inflated"))
    with pytest.raises(ArchiveError, match="ask for 1,000,000; at most 10,000 are given"):
        load(tmp_path / "a.pt")


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, message in (("fifo", "is no plain file"), ("zero", "is no plain file"), (".", "is a folder")):
        with pytest.raises(UserError, match=message):
            load(tmp_path / name)
    with pytest.raises(MissingFileError, match="no such file"):
        load(tmp_path / "none")


def test_a_cache_gives_what_fits_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.pt"
    assert cached(path, lambda content: True) is None
    assert not caplog.records
    save(path, torch.ones(2))
    assert torch.equal(cached(path, lambda content: content.shape == (2,)), torch.ones(2))
    for fits in (lambda content: False, lambda content: content.nonsense):
        with caplog.at_level(logging.WARNING):
            assert cached(path, fits) is None
        assert "a.pt: does not hold what its name says" in caplog.records[-1].getMessage()
    path.write_bytes(b"PK")
    assert cached(path, lambda content: True) is None
    assert "it is damaged or cut short" in caplog.records[-1].getMessage()


def test_a_full_disk_leaves_nothing_and_is_named_by_what_was_to_be_written(tmp_path: Path, full_disk: None) -> None:
    with pytest.raises(DiskError, match=r"/a\.pt: the disk is full"), clear_disk_errors(tmp_path):
        save(tmp_path / "a.pt", torch.ones(2))
    assert list(tmp_path.iterdir()) == []
