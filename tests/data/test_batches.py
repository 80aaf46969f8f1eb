import math
from itertools import chain

import pytest
import torch

from cvae.data import Batch, EpochSampler, TensorLoader

CPU = torch.device("cpu")


def numbered(count):
    """Samples that carry their number, so that a batch tells what it is made of."""
    x = torch.arange(count, dtype=torch.float32).reshape(count, 1, 1).expand(count, 2, 5).contiguous()
    return Batch(x, 1000 + x[:, :1])


def samplers(count, world, **options):
    return [EpochSampler(count, rank=rank, world=world, **options) for rank in range(world)]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [9, 10, 11])
def test_training_shares_are_equal_and_disjoint(count, world):
    orders = [sampler.order(CPU).tolist() for sampler in samplers(count, world, shuffle=True)]
    assert {len(order) for order in orders} == {count // world}
    seen = list(chain(*orders))
    assert len(set(seen)) == len(seen) == count - count % world
    assert set(seen) <= set(range(count))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [9, 10, 11])
def test_evaluation_shares_hold_every_sample_once(count, world):
    orders = [sampler.order(CPU).tolist() for sampler in samplers(count, world, shuffle=False)]
    assert sorted(chain(*orders)) == list(range(count))
    assert [sampler.share for sampler in samplers(count, world, shuffle=False)] == [len(order) for order in orders]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", range(9, 15))
def test_every_process_takes_as_many_batches_and_none_is_empty(shuffle, world, count):
    loaders = [TensorLoader(numbered(count), 2, sampler) for sampler in samplers(count, world, shuffle=shuffle)]
    sizes = [[len(batch.x) for batch in loader] for loader in loaders]
    assert {len(each) for each in sizes} == {len(loaders[0])}
    assert all(1 <= size <= 2 for each in sizes for size in each)


def test_the_remainder_that_training_leaves_out_changes():
    sampler = EpochSampler(7, shuffle=True, world=2)
    other = EpochSampler(7, shuffle=True, rank=1, world=2)
    left_out = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        other.set_epoch(epoch)
        left_out |= set(range(7)) - set(sampler.order(CPU).tolist()) - set(other.order(CPU).tolist())
    assert len(left_out) > 3


def test_the_order_depends_on_epoch_and_seed_alone():
    def order(seed, epoch):
        sampler = EpochSampler(50, shuffle=True, seed=seed)
        sampler.set_epoch(epoch)
        return sampler.order(CPU).tolist()

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_evaluation_keeps_the_order_of_the_data():
    assert EpochSampler(5, shuffle=False).order(CPU).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_the_data_at_the_sampler_s_indices(shuffle):
    data = numbered(10)
    sampler = EpochSampler(10, shuffle=shuffle)
    batches = list(TensorLoader(data, 4, sampler))
    order = sampler.order(CPU)
    assert torch.equal(torch.cat([batch.x for batch in batches]), data.x[order])
    assert torch.equal(torch.cat([batch.y for batch in batches]), data.y[order])


def test_the_last_training_batch_holds_what_is_left():
    loader = TensorLoader(numbered(10), 4, EpochSampler(10, shuffle=True))
    assert len(loader) == 3
    assert [len(batch.x) for batch in loader] == [4, 4, 2]


def test_a_loader_may_be_gone_through_twice():
    loader = TensorLoader(numbered(10), 4, EpochSampler(10, shuffle=True))
    first, again = ([batch.x[:, 0, 0].tolist() for batch in loader] for _ in range(2))
    assert first == again


def test_refresh_gives_the_data_of_the_epoch():
    def refresh(epoch):
        return Batch(numbered(6).x + 100 * epoch, numbered(6).y)

    sampler = EpochSampler(6, shuffle=True)
    loader = TensorLoader(numbered(6), 4, sampler, refresh=refresh)
    for epoch in (0, 2):
        sampler.set_epoch(epoch)
        values = torch.cat([batch.x[:, 0, 0] for batch in loader])
        assert sorted(values.tolist()) == [100 * epoch + n for n in range(6)]


def test_perturb_changes_y_alone_and_differs_by_epoch_and_rank():
    data = numbered(6)

    def perturb(y, generator):
        return y + torch.rand(1, generator=generator)

    def shifts(epoch, rank):
        sampler = EpochSampler(6, shuffle=True, rank=rank, world=2)
        sampler.set_epoch(epoch)
        batches = list(TensorLoader(data, 2, sampler, perturb=perturb))
        order = sampler.order(CPU)
        assert torch.equal(torch.cat([batch.x for batch in batches]), data.x[order])
        return tuple((torch.cat([batch.y for batch in batches]) - data.y[order])[:, 0, 0].tolist())

    assert shifts(0, 0) == shifts(0, 0)
    assert len({shifts(epoch, rank) for epoch in (0, 1) for rank in (0, 1)}) == 4
    assert torch.equal(data.y, numbered(6).y)


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_one_is_refused(size):
    with pytest.raises(ValueError, match=f"data.batch_size is {size}; it must be at least 1"):
        TensorLoader(numbered(3), size, EpochSampler(3, shuffle=True))


@pytest.mark.parametrize(("shuffle", "rank"), [(True, 0), (False, 2)])
def test_fewer_samples_than_processes_are_refused(shuffle, rank):
    with pytest.raises(ValueError, match="2 samples are too few for 3 processes"):
        TensorLoader(numbered(2), 1, EpochSampler(2, shuffle=shuffle, rank=rank, world=3))


@pytest.mark.parametrize("size", [3, 4, 10, 11, 100])
def test_the_length_is_the_number_of_batches(size):
    loader = TensorLoader(numbered(10), size, EpochSampler(10, shuffle=True))
    assert len(loader) == len(list(loader)) == math.ceil(10 / size)
