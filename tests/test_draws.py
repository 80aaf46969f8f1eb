import numpy as np
import pytest
import torch
from scipy import stats
from scipy.stats import qmc

from cvae.draws import point_set

NAMES = ["random", "sobol"]


@pytest.mark.parametrize("name", NAMES)
def test_points_lie_in_the_unit_cube(name, generator):
    u = point_set(name)(5, 100, 3, generator)
    assert u.shape == (5, 100, 3)
    assert u.dtype == torch.float32
    assert u.min() >= 0
    assert u.max() < 1


@pytest.mark.parametrize("name", NAMES)
def test_a_point_alone_is_uniform(name, generator):
    u = point_set(name)(4_000, 2, 2, generator)
    for draw, dim in np.ndindex(2, 2):
        assert stats.kstest(u[:, draw, dim].numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_fixes_the_points(name):
    first, again, other = (point_set(name)(2, 5, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_next_points_of_a_generator_are_others(name, generator):
    assert not torch.equal(point_set(name)(2, 5, 3, generator), point_set(name)(2, 5, 3, generator))


@pytest.mark.parametrize("name", NAMES)
def test_conditions_have_points_of_their_own(name, generator):
    u = point_set(name)(50, 4, 3, generator)
    assert len({tuple(points.flatten().tolist()) for points in u}) == 50


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generator_is_left_alone(name, generator):
    before = torch.get_rng_state()
    point_set(name)(2, 5, 3, generator)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_sobol_points_fill_the_cube_more_evenly_than_random_ones(dim, generator):
    def discrepancies(name):
        return np.array([qmc.discrepancy(u.double().numpy()) for u in point_set(name)(20, 30, dim, generator)])

    assert discrepancies("sobol").max() < np.median(discrepancies("random"))


def test_more_dimensions_than_sobol_has_are_refused(generator):
    with pytest.raises(
        ValueError, match=r"generation\.draws=sobol has at most 21201 dimensions, not 21202; use random"
    ):
        point_set("sobol")(1, 1, 21_202, generator)


def test_an_unknown_point_set_is_refused():
    with pytest.raises(ValueError, match=r"generation\.draws is 'halton'; it must be one of random, sobol"):
        point_set("halton")


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_points_of_a_condition_do_not_depend_on_the_batches(name):
    whole = point_set(name)(6, 5, 3, torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    pieces = [point_set(name)(size, 5, 3, generator) for size in (2, 1, 3)]
    assert torch.equal(torch.cat(pieces), whole)
