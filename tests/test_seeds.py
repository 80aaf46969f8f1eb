import ast
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from cvae.seeds import Purpose, stream

ROOT = Path(__file__).resolve().parents[1]
PURPOSE = Purpose.SIMULATION


def first(*keys, purpose=PURPOSE):
    return torch.rand(1, generator=stream(purpose, *keys), dtype=torch.float64).item()


def test_the_same_purpose_and_keys_give_the_same_stream():
    assert first(3, 1, 4) == first(3, 1, 4)


def test_no_two_purposes_share_a_stream():
    keys = [(), (0,), (7,), (0, 0), (1, 2)]
    values = {first(*each, purpose=purpose) for purpose in Purpose for each in keys}
    assert len(values) == len(Purpose) * len(keys)


def test_a_purpose_is_no_key():
    # the number of a purpose in front of the keys is not the same as one more key
    values = {first(*keys, purpose=purpose) for purpose in Purpose for keys in ((), *((int(p),) for p in Purpose))}
    assert len(values) == len(Purpose) * (1 + len(Purpose))


def test_every_key_its_order_and_their_number_matter():
    small = [keys for length in range(5) for keys in itertools.product(range(3), repeat=length)]
    large = [(2**32,), (2**32 + 1,), (2**63,), (2**64 - 1,), (-2,), (0, 2**32), (2**32, 0)]
    assert len({first(*keys) for keys in small + large}) == len(small) + len(large)


def test_neighbouring_streams_are_independent():
    values = np.array([[first(seed, epoch) for epoch in range(40)] for seed in range(40)])
    assert stats.kstest(values.ravel(), "uniform").pvalue > 0.01
    assert abs(stats.pearsonr(values[:-1].ravel(), values[1:].ravel()).statistic) < 0.08
    assert abs(stats.pearsonr(values[:, :-1].ravel(), values[:, 1:].ravel()).statistic) < 0.08


def test_streams_of_neighbouring_purposes_are_independent():
    values = np.array([[first(seed, purpose=purpose) for seed in range(100)] for purpose in Purpose])
    assert stats.kstest(values.ravel(), "uniform").pvalue > 0.01
    assert abs(stats.pearsonr(values[:-1].ravel(), values[1:].ravel()).statistic) < 0.08


def test_a_stream_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    torch.rand(10, generator=stream(PURPOSE, 1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("key", [-1, 2**70])
def test_any_whole_number_is_a_key(key):
    assert 0 <= first(key) < 1


def purposes():
    """What each call of ``stream`` in the package and the scripts gives as its purpose, with where it stands."""
    for path in sorted([*(ROOT / "cvae").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "stream":
                yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.args[0]) if node.args else "nothing"


NAMED = {f"Purpose.{purpose.name}" for purpose in Purpose}


def test_every_stream_has_a_named_purpose():
    assert not [f"{where}: {purpose}" for where, purpose in purposes() if purpose not in NAMED]


def test_every_purpose_is_used():
    assert {purpose for _, purpose in purposes()} >= NAMED
