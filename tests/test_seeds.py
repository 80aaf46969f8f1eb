import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from cvae.seeds import stream


def first(*keys):
    return torch.rand(1, generator=stream(*keys), dtype=torch.float64).item()


def test_the_same_keys_give_the_same_stream():
    assert first(3, 1, 4) == first(3, 1, 4)


def test_every_key_its_order_and_their_number_matter():
    small = [keys for length in range(5) for keys in itertools.product(range(3), repeat=length)]
    large = [(2**32,), (2**32 + 1,), (2**63,), (2**64 - 1,), (-2,), (0, 2**32), (2**32, 0)]
    assert len({first(*keys) for keys in small + large}) == len(small) + len(large)


def test_neighbouring_streams_are_independent():
    values = np.array([[first(seed, epoch) for epoch in range(40)] for seed in range(40)])
    assert stats.kstest(values.ravel(), "uniform").pvalue > 0.01
    assert abs(stats.pearsonr(values[:-1].ravel(), values[1:].ravel()).statistic) < 0.08
    assert abs(stats.pearsonr(values[:, :-1].ravel(), values[:, 1:].ravel()).statistic) < 0.08


def test_a_stream_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    torch.rand(10, generator=stream(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("key", [-1, 2**70])
def test_any_whole_number_is_a_key(key):
    assert 0 <= first(key) < 1
