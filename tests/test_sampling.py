import numpy as np
import pytest
import torch
from scipy import stats
from scipy.stats import qmc

from cvae import sampling as module
from cvae.errors import UserError
from cvae.metrics import coverage, exchange, greedy_cover
from cvae.sampling import POINT_SETS, chunk_size, chunks, find_point_set, in_chunks

NAMES = list(POINT_SETS)


@pytest.mark.parametrize("name", NAMES)
def test_points_lie_in_the_unit_cube(name, generator):
    u = find_point_set(name)(5, 100, 3, generator)
    assert u.shape == (5, 100, 3)
    assert u.dtype == torch.float32
    assert u.min() >= 0
    assert u.max() < 1


@pytest.mark.parametrize("name", NAMES)
def test_a_point_alone_is_uniform(name, generator):
    u = find_point_set(name)(4_000, 2, 2, generator)
    for draw, dim in np.ndindex(2, 2):
        assert stats.kstest(u[:, draw, dim].numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_fixes_the_points(name):
    first, again, other = (find_point_set(name)(2, 5, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_next_points_of_a_generator_are_others(name, generator):
    assert not torch.equal(find_point_set(name)(2, 5, 3, generator), find_point_set(name)(2, 5, 3, generator))


@pytest.mark.parametrize("name", NAMES)
def test_conditions_have_points_of_their_own(name, generator):
    u = find_point_set(name)(50, 4, 3, generator)
    assert len({tuple(points.flatten().tolist()) for points in u}) == 50


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generator_is_left_alone(name, generator):
    before = torch.get_rng_state()
    find_point_set(name)(2, 5, 3, generator)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_sobol_points_fill_the_cube_more_evenly_than_random_ones(dim, generator):
    def discrepancies(name):
        return np.array([qmc.discrepancy(u.double().numpy()) for u in find_point_set(name)(20, 30, dim, generator)])

    assert discrepancies("sobol").max() < np.median(discrepancies("random"))


@pytest.mark.parametrize("draws", [1, 7, 30, 100])
def test_sobol_points_are_even_along_each_axis_for_any_number(draws, generator):
    u = find_point_set("sobol")(3, draws, 4, generator)
    steps = u.sort(1).values.diff(dim=1)
    assert torch.allclose(steps, torch.full_like(steps, 1 / draws), atol=1e-6)


def test_more_dimensions_than_sobol_has_are_refused(generator):
    with pytest.raises(
        UserError, match=r"evaluation\.point_set=sobol has at most 21201 dimensions, not 21202; use random"
    ):
        find_point_set("sobol")(1, 1, 21_202, generator)


def test_an_unknown_point_set_is_refused():
    with pytest.raises(UserError, match=r"evaluation\.point_set is 'halton'; it must be one of random, sobol"):
        find_point_set("halton")


@pytest.mark.parametrize("name", NAMES)
def test_points_of_a_condition_do_not_depend_on_the_batches(name):
    whole = find_point_set(name)(6, 5, 3, torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    pieces = [find_point_set(name)(size, 5, 3, generator) for size in (2, 1, 3)]
    assert torch.equal(torch.cat(pieces), whole)


# --- chunks


SIZES = [(3, 5, 7), (3, 5, 100), (3, 5, 2), (1, 10, 10), (2, 1, 1), (0, 4, 3)]


@pytest.mark.parametrize(("batch", "draws", "size"), SIZES)
def test_chunks_visit_every_draw_once_and_hold_no_more_than_asked(batch, draws, size):
    visits = torch.zeros(batch, draws)
    for some, part in chunks(batch, draws, size):
        assert 0 < visits[some, part].numel() <= size
        visits[some, part] += 1
    assert (visits == 1).all()


@pytest.mark.parametrize(("batch", "draws", "size"), SIZES)
def test_results_of_chunks_are_put_together_in_order(batch, draws, size, generator):
    x = torch.rand(batch, draws, 3, generator=generator)
    assert torch.equal(in_chunks(lambda some, part: x[some, part], batch, draws, size), x)


def test_an_accelerator_gets_more_at_once():
    assert chunk_size(torch.device("cuda")) > chunk_size(torch.device("cpu"))


def test_long_draws_come_fewer_at_a_time():
    device = torch.device("cpu")
    assert chunk_size(device, 2_000) == chunk_size(device) // 20
    assert chunk_size(device, 10**9) == 1


@pytest.mark.parametrize("size", [3, 8, 40])
def test_results_do_not_depend_on_the_chunks(generator, monkeypatch, size):
    # as many numbers as a chunk's size is given for
    u, valid = torch.rand(3, 20, module.USUAL, generator=generator), torch.rand(3, 20, generator=generator) < 0.8

    def results():
        chosen = greedy_cover(u, valid, 5)
        return coverage(u, valid), chosen, exchange(u, valid, chosen)

    whole = results()
    monkeypatch.setattr(module, "ON_CPU", size)
    assert all(torch.equal(a, b) for a, b in zip(whole, results(), strict=True))
