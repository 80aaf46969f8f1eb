import pytest
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

from cvae.config import digest, flatten, plain


def test_plain_resolves_to_dicts_lists_and_values():
    node = OmegaConf.create({"a": 1, "b": ["${a}", {"c": "${a}"}], "d": None})
    found = plain(node)
    assert found == {"a": 1, "b": [1, {"c": 1}], "d": None}
    assert type(found) is dict
    assert type(found["b"]) is list
    assert type(found["b"][1]) is dict


def test_plain_leaves_values_alone():
    marker = object()
    assert plain(marker) is marker


def test_plain_refuses_what_is_still_missing():
    with pytest.raises(MissingMandatoryValue, match="a"):
        plain(OmegaConf.create({"a": "???"}))


def test_the_digest_tells_settings_apart_and_not_their_order():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    others = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": None}, {"a": [1]}, {"b": 1}, {}]
    assert len({digest(other) for other in others}) == len(others)


def test_flatten_joins_names_with_dots():
    content = {"a": 1, "b": {"c": [1, 2], "d": {"e": None, "f": True}}, "g": "text", "h": 0.5}
    assert flatten(content) == {"a": 1, "b.c": "[1, 2]", "b.d.e": None, "b.d.f": True, "g": "text", "h": 0.5}
