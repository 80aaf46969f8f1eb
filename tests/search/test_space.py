"""Search spaces: what is refused when they are read, and what is proposed."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from cvae.search.space import read_space, readable

MODEL = {"choices": ["dense", "deep"]}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, r"search.space is empty"),
        ({"lr": {"low": 1e-2, "high": 1e-3}}, r"search.space.lr has low 0.01 and high 0.001, an empty range"),
        ({"lr": {"low": 1.0, "high": 1.0}}, r"empty range"),
        ({"lr": {"low": 0.0, "high": 1.0, "log": True}}, r"search.space.lr.low is 0.0; on a logarithmic scale"),
        ({"lr": {"low": 1e-3}}, r"search.space.lr.high is None; an entry needs choices, or two numbers"),
        ({"lr": {"low": "small", "high": 1.0}}, r"search.space.lr.low is 'small'"),
        ({"lr": {"low": 0.0, "high": 1.0, "step": 2.0}}, r"search.space.lr.step is 2.0"),
        ({"lr": {"low": 0.1, "high": 1.0, "step": 0.1, "log": True}}, r"has log and step"),
        ({"lr": {"low": 0.1, "high": 1.0, "lgo": True}}, r"search.space.lr has 'lgo'; it may have choices, default"),
        ({"lr": [1, 2]}, r"search.space.lr is \[1, 2\]; it must be \{choices"),
        ({"model": {"choices": []}}, r"search.space.model.choices is \[\]; it must be a list of at least one value"),
        ({"model": {"choices": "dense"}}, r"search.space.model.choices is 'dense'"),
        ({"model": {"choices": ["dense", "dense"]}}, r"holds a value twice"),
        ({"model": {"choices": [[1, 2]]}}, r"write a list or a dict as text"),
        ({"model": MODEL | {"low": 1}}, r"has choices and low"),
        ({"model": MODEL | {"default": "huge"}}, r"model.default is 'huge', which is not among dense, deep"),
        ({"d": {"low": 1, "high": 2, "when": {"model": "deep"}}, "model": MODEL}, r"'model', which is no entry above"),
        ({"model": MODEL, "d": {"low": 1, "high": 2, "when": {"model": "huge"}}}, r"model is \['huge'\]; .*dense"),
        ({"a": {"low": 1, "high": 2}, "d": {"low": 1, "high": 2, "when": {"a": 1}}}, r"only choices can be asked for"),
        ({"a": {"low": 1, "high": 2}, "b": {"low": 1, "high": 2, "override": "a"}}, r"space.b sets a, as a does"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_space(space)


def test_an_entry_is_proposed_only_where_it_applies() -> None:
    space = read_space(
        {
            "model": MODEL,
            "model.width": {"low": 8, "high": 16, "when": {"model": "deep"}},
            "lr": {"low": 1e-4, "high": 1e-2, "log": True, "when": {"model": "dense"}},
            "lr of deep": {"override": "lr", "low": 1.0, "high": 2.0, "when": {"model": ["deep"]}},
        }
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(20):
        params = space.suggest(study.ask())
        overrides = dict(word.split("=") for word in space.overrides(params))
        seen.add(overrides["model"])
        if overrides["model"] == "deep":
            assert set(overrides) == {"model", "model.width", "lr"}
            assert 8 <= int(overrides["model.width"]) <= 16
            assert 1 <= float(overrides["lr"]) <= 2
        else:
            assert set(overrides) == {"model", "lr"}
            assert 1e-4 <= float(overrides["lr"]) <= 1e-2
    assert seen == {"dense", "deep"}


def test_every_choice_is_in_one_of_the_samples() -> None:
    space = read_space(
        {
            "a": MODEL,
            "b": {"choices": [1, 2, 3], "when": {"a": "deep"}},
            "c": {"low": 0.5, "high": 1.0, "when": {"b": 3}},
        }
    )
    samples = space.samples()
    assert {params["a"] for params in samples} == {"dense", "deep"}
    assert {params["b"] for params in samples if "b" in params} == {1, 2, 3}
    assert {"a": "deep", "b": 3, "c": 0.5} in samples
    assert all(("b" in params) == (params["a"] == "deep") for params in samples)


def test_an_entry_can_be_switched_off() -> None:
    assert [entry.name for entry in read_space({"a": MODEL, "b": None}).entries] == ["a"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0012345678901, 0.00123), (0.0005, 0.0005), (1.2345e-4, 1.2345e-4), (512, 512), ("adam", "adam"), (None, None)],
)
def test_only_numbers_that_nobody_wrote_are_rounded(value: Any, expected: Any) -> None:
    assert readable(value) == expected
