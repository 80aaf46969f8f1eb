import numpy as np
import pytest
import torch
from scipy import stats

from cvae.data import SmoothTolerance
from cvae.tasks import Box, CallableForward, Gates, Problem


@pytest.fixture
def errors(problem):
    """Perturbations of a curve that is 0, ``(count, conditions, points)``."""

    def make(count, generator, points=50, conditions=1, share=1.0):
        tolerance = SmoothTolerance(problem(*["x0"] * conditions, points=points, rmse=0.05), share)
        return tolerance(torch.zeros(count, conditions, points, dtype=torch.float64), generator).numpy()

    return make


@pytest.mark.parametrize(("points", "share"), [(3, 1.0), (50, 1.0), (50, 0.5)])
def test_the_rmse_is_uniform_up_to_its_share_of_the_gate(errors, points, share, generator):
    rmse = np.sqrt(np.mean(errors(5_000, generator, points, share=share) ** 2, axis=-1)).ravel() / share
    assert rmse.max() <= 0.05 * (1 + 1e-6)
    assert stats.kstest(rmse, stats.uniform(0, 0.05).cdf).pvalue > 0.01


def test_errors_are_parabolas(errors, generator):
    e = errors(20, generator)[:, 0]
    # the third differences of a polynomial of degree 2 vanish; its second differences do not
    assert np.abs(np.diff(e, 3)).max() < 1e-7
    assert np.abs(np.diff(e, 2)).max() > 1e-5


def test_no_direction_is_preferred(errors, generator):
    t = np.linspace(-1, 1, 50)
    basis, _ = np.linalg.qr(np.stack([t**0, t, t**2], axis=1))
    e = errors(5_000, generator)[:, 0]
    directions = e / np.linalg.norm(e, axis=1, keepdims=True) @ basis
    # coordinates of a uniform direction on the sphere are uniform in [-1, 1] (Archimedes)
    for coordinate in directions.T:
        assert stats.kstest(coordinate, stats.uniform(-1, 2).cdf).pvalue > 0.01


def test_conditions_are_perturbed_independently(errors, generator):
    e = errors(5_000, generator, conditions=2)
    rmse = np.sqrt(np.mean(e**2, axis=-1))
    assert abs(stats.pearsonr(rmse[:, 0], rmse[:, 1]).statistic) < 0.05
    assert abs(stats.pearsonr(e[:, 0, 0], e[:, 1, 0]).statistic) < 0.05


def test_the_error_is_added_to_y_and_y_is_kept(problem, generator):
    tolerance = SmoothTolerance(problem(), 1.0)
    y = torch.rand(4, 1, 50, generator=generator)
    before = y.clone()
    perturbed = tolerance(y, torch.Generator().manual_seed(1))
    expected = tolerance(torch.zeros_like(y), torch.Generator().manual_seed(1))
    assert torch.equal(y, before)
    torch.testing.assert_close(perturbed - y, expected, atol=1e-6, rtol=0)


def test_a_seed_fixes_the_error(errors):
    first, again, other = (errors(3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("values", [1, 2, 3])
def test_each_value_of_a_vector_is_a_condition_of_its_own(vector_problem, values, generator):
    problem = vector_problem(*["x0", "x1", "x0 * x1"][:values])
    e = SmoothTolerance(problem, 0.5)(torch.zeros(5_000, values), generator).double().numpy()
    for column in e.T:
        # a misfit that is uniform, of either sign
        assert stats.kstest(column, stats.uniform(-0.025, 0.05).cdf).pvalue > 0.01
    if values > 1:
        assert abs(stats.pearsonr(e[:, 0], e[:, 1]).statistic) < 0.05


def test_a_callable_of_vectors_gives_one_condition_whose_values_change_together(generator):
    space = Box([[0, 1], [0, 1]])
    forward = CallableForward(lambda x: x[..., :1] * torch.ones(7), {"_target_": "here"}, space)
    problem = Problem(space, forward, Gates(0.05))
    e = SmoothTolerance(problem, 1.0)(torch.zeros(5_000, 7), generator).double().numpy()
    rmse = np.sqrt(np.mean(e**2, axis=1))
    assert stats.kstest(rmse, stats.uniform(0, 0.05).cdf).pvalue > 0.01
    assert np.abs(np.diff(e, 3)).max() < 1e-6
