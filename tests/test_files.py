import json
import math
import os

import pytest

from cvae.files import finite, replacing, write_json


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


def test_others_may_read_the_file(tmp_path):
    with replacing(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


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
