import errno
import json
import math
import os
from contextlib import nullcontext

import pytest

from cvae.errors import UserError
from cvae.files import check_output, finite, replacing, write_json


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(("mask", "rights"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_rights_that_the_users_mask_leaves(tmp_path, mask, rights):
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == rights


def test_a_place_that_cannot_be_written_to_is_told_and_nothing_is_made(tmp_path):
    check_output("out", tmp_path / "new" / "folder" / "a.txt")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"out is .*folder, which is a folder; name a file in it"):
        check_output("out", tmp_path / "folder")
    with pytest.raises(UserError, match=r"picture is .*x\.png, but .*file cannot be written to \(Not a directory\)"):
        check_output("picture", tmp_path / "file" / "deep" / "x.png")
    with pytest.raises(UserError, match=r"out is .*x, but .*x cannot be written to \(File name too long\)"):
        check_output("out", tmp_path / ("x" * 300))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"out is .*x\.png, but .*link cannot be written to \(No such file"):
        check_output("out", tmp_path / "link" / "deep" / "x.png")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("x" * (os.pathconf(tmp_path, "PC_NAME_MAX") - 4) + ".npz")
    check_output("out", path)
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize(("number", "is_told"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synchronised_is_told_only_where_it_is_an_error(tmp_path, monkeypatch, number, is_told):
    def sync(descriptor):
        if os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", sync)
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match="error") if is_told else nullcontext(), replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def test_json_holds_what_was_given_and_null_for_what_json_cannot(tmp_path):
    content = {"a": [1, 2.5, math.nan], "b": {"c": -math.inf, 3: (True, None, "text")}}
    write_json(tmp_path / "a.json", content)
    expected = {"a": [1, 2.5, None], "b": {"c": None, "3": [True, None, "text"]}}
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == expected


def test_what_json_cannot_hold_leaves_no_file(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert os.listdir(tmp_path) == []


def test_finite_copies():
    content = {"a": [math.inf, 1.0]}
    assert finite(content) == {"a": [None, 1.0]}
    assert content == {"a": [math.inf, 1.0]}


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "a.txt", []
    path.write_text("old")

    def sync(descriptor):
        seen.append((os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)), path.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    with replacing(path) as temporary:
        temporary.write_text("new")
    # the file under its old name, then the folder
    assert seen == [(False, "old"), (True, "new")]
