import numpy as np
import pytest
import torch
from scipy import stats

from cvae.data import SmoothTolerance


def errors(count, generator, points=50, conditions=1, largest=0.05):
    y = torch.zeros(count, conditions, points, dtype=torch.float64)
    return SmoothTolerance(points, largest)(y, generator).numpy()


@pytest.mark.parametrize("points", [3, 50])
def test_the_rmse_is_uniform_up_to_the_largest(points, generator):
    rmse = np.sqrt(np.mean(errors(5_000, generator, points) ** 2, axis=-1)).ravel()
    assert rmse.max() <= 0.05 * (1 + 1e-6)
    assert stats.kstest(rmse, stats.uniform(0, 0.05).cdf).pvalue > 0.01


def test_errors_are_parabolas(generator):
    e = errors(20, generator)[:, 0]
    # the third differences of a polynomial of degree 2 vanish; its second differences do not
    assert np.abs(np.diff(e, 3)).max() < 1e-7
    assert np.abs(np.diff(e, 2)).max() > 1e-5


def test_no_direction_is_preferred(generator):
    t = np.linspace(-1, 1, 50)
    basis, _ = np.linalg.qr(np.stack([t**0, t, t**2], axis=1))
    e = errors(5_000, generator)[:, 0]
    directions = e / np.linalg.norm(e, axis=1, keepdims=True) @ basis
    # coordinates of a uniform direction on the sphere are uniform in [-1, 1] (Archimedes)
    for coordinate in directions.T:
        assert stats.kstest(coordinate, stats.uniform(-1, 2).cdf).pvalue > 0.01


def test_conditions_are_perturbed_independently(generator):
    e = errors(5_000, generator, conditions=2)
    rmse = np.sqrt(np.mean(e**2, axis=-1))
    assert abs(stats.pearsonr(rmse[:, 0], rmse[:, 1]).statistic) < 0.05
    assert abs(stats.pearsonr(e[:, 0, 0], e[:, 1, 0]).statistic) < 0.05


def test_the_error_is_added_to_y_and_y_is_kept(generator):
    y = torch.rand(4, 1, 50, generator=generator)
    before = y.clone()
    perturbed = SmoothTolerance(50, 0.05)(y, torch.Generator().manual_seed(1))
    expected = SmoothTolerance(50, 0.05)(torch.zeros_like(y), torch.Generator().manual_seed(1))
    assert torch.equal(y, before)
    torch.testing.assert_close(perturbed - y, expected, atol=1e-6, rtol=0)


def test_a_seed_fixes_the_error():
    first, again, other = (errors(3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
