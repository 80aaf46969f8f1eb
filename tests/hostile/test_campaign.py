"""The campaign of hostile inputs: a seeded sample of each family here, all of them in ``make test-slow``."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.campaign import BAD, SEED, Case, tried
from tests.hostile.families import FAMILIES, SAMPLE, sampled
from tests.hostile.good import Good


def check(cases: Sequence[Case], place: Path) -> None:
    outcomes = list(tried(cases, place))
    assert len(outcomes) == len(cases) > 0
    bad = [f"{case.name}: {outcome.column}: {outcome.told}" for case, outcome in outcomes if outcome.column in BAD]
    assert not bad, "\n".join([f"{len(bad)} of {len(cases)}:", *bad])


def test_the_sample_has_200_inputs_of_all_families() -> None:
    assert SAMPLE.keys() == FAMILIES.keys()
    assert sum(SAMPLE.values()) == 200


@pytest.mark.parametrize("family", SAMPLE)
def test_a_hostile_input_is_refused_in_our_words_or_used_rightly(family: str, good: Good, tmp_path: Path) -> None:
    check(sampled(family, good), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_all_hostile_inputs_are_refused_in_our_words_or_used_rightly(family: str, good: Good, tmp_path: Path) -> None:
    check(list(FAMILIES[family](good, random.Random(SEED))), tmp_path)
