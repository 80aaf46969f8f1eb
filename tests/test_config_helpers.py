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


@pytest.mark.parametrize(
    ("entries", "count"), [(["x0", "x1"], 2), ([], 0), ({"_target_": "a.b", "c": 1}, 1), ("x0 * x1", 1)]
)
def test_count_is_the_length_of_a_list_and_one_otherwise(entries, count):
    assert OmegaConf.create({"a": entries, "n": "${count:${a}}"}).n == count


@pytest.mark.parametrize(
    ("precision", "fused"),
    [("32-true", True), (32, True), ("64-true", True), ("bf16-mixed", False), ("16-mixed", False), (16, False)],
)
def test_the_optimiser_is_fused_where_gradients_can_be_clipped(shipped, precision, fused):
    assert shipped(f"trainer.precision={precision}").optimizer.fused is fused


def test_the_digest_tells_settings_apart_and_not_their_order():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    others = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": None}, {"a": [1]}, {"b": 1}, {}]
    assert len({digest(other) for other in others}) == len(others)


def test_flatten_joins_names_with_dots():
    content = {"a": 1, "b": {"c": [1, 2], "d": {"e": None, "f": True}}, "g": "text", "h": 0.5}
    assert flatten(content) == {"a": 1, "b.c": "[1, 2]", "b.d.e": None, "b.d.f": True, "g": "text", "h": 0.5}


def test_the_sizes_that_the_model_reads_follow_from_the_problem(shipped):
    config = shipped("data=two_birds", "data.points=30", "model=dense")
    assert plain(config.data.sizes) == {"lines": 2, "points": 30, "conditions": 2}
    assert config.model.points == 30
    assert config.model.conditions == 2
