from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import energy_distance, goodness_of_fit, norm

from cvae.metrics import Drawn, SampleDistances, anderson_darling, energy_scores, kendall_error, sample_distances


def test_anderson_darling_is_the_statistic_of_scipy_for_the_distribution_of_a_large_sample() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(0.4, 1.3, 200)
    fixed = {"loc": 0, "scale": 1}
    test = goodness_of_fit(norm, reference, known_params=fixed, statistic="ad", n_mc_samples=1, rng=rng)
    # all quantiles of the normal distribution in place of a random sample
    x = torch.from_numpy(norm.ppf((np.arange(200_000) + 0.5) / 200_000)).unsqueeze(1)
    found = anderson_darling(x, torch.from_numpy(reference).unsqueeze(1))
    assert found.item() == pytest.approx(test.statistic, rel=2e-3)
    assert test.statistic > 10


def test_anderson_darling_by_hand() -> None:
    # u = (1 + 1) / 5, (2 + 1) / 5
    x, reference = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([[3.5], [2.0]])
    u = [2 / 5, 3 / 5]
    expected = -2 - (np.log(u[0]) + np.log(1 - u[1]) + 3 * (np.log(u[1]) + np.log(1 - u[0]))) / 2
    assert anderson_darling(x, reference).item() == pytest.approx(expected)


def test_anderson_darling_of_each_coordinate_alone(generator: torch.Generator) -> None:
    x, reference = torch.randn(300, 3, generator=generator), torch.randn(100, 3, generator=generator)
    both = anderson_darling(x, reference)
    alone = torch.cat([anderson_darling(x[:, [k]], reference[:, [k]]) for k in range(3)])
    torch.testing.assert_close(both, alone)


def test_anderson_darling_is_about_one_for_one_distribution_and_grows_with_a_shift(generator: torch.Generator) -> None:
    x, reference = torch.randn(20_000, 50, generator=generator), torch.randn(400, 50, generator=generator)
    assert 0.7 < anderson_darling(x, reference).mean().item() < 1.4
    assert anderson_darling(x + 0.5, reference).min().item() > 10


def test_energy_score_is_half_the_energy_distance_to_a_point_up_to_its_bias(generator: torch.Generator) -> None:
    draws, x = torch.randn(1, 400, 1, generator=generator).double(), torch.tensor([[0.7]]).double()
    # scipy's distance is the root of 2 E|X - x| - E|X - X'| with the pairs of a draw with itself
    values = draws[0, :, 0].numpy()
    biased = energy_distance(values, x[0].numpy()) ** 2 / 2
    pairs = np.abs(values[:, None] - values).mean() / 2
    assert energy_scores(draws, x).item() == pytest.approx(biased + pairs - pairs * 400 / 399, rel=1e-6)


def test_energy_score_does_not_depend_on_the_number_of_draws_on_average(generator: torch.Generator) -> None:
    x = torch.randn(20_000, 6, generator=generator)
    few, many = (energy_scores(torch.randn(20_000, n, 6, generator=generator), x).mean().item() for n in (2, 20))
    assert few == pytest.approx(many, abs=0.03)


def test_energy_score_is_best_for_the_true_distribution(generator: torch.Generator) -> None:
    x, draws = torch.randn(4_000, 2, generator=generator), torch.randn(4_000, 10, 2, generator=generator)
    true, narrow, wide, shifted = (
        energy_scores(other, x).mean().item() for other in (draws, 0.5 * draws, 2 * draws, draws + 0.5)
    )
    assert true < min(narrow, wide, shifted) - 0.02


def test_energy_score_needs_two_draws() -> None:
    with pytest.raises(ValueError, match="1 draws; the energy score needs at least 2"):
        energy_scores(torch.zeros(3, 1, 6), torch.zeros(3, 6))


def test_the_metric_puts_the_draws_of_all_batches_together(generator: torch.Generator) -> None:
    draws, x = torch.randn(50, 4, 3, generator=generator), torch.randn(50, 3, generator=generator)
    metric = SampleDistances(x)
    for which in torch.randperm(50, generator=generator).split(20):
        metric.update(Drawn(which, draws[which], torch.empty(len(which), 0)))
    found = metric.compute()
    assert found["anderson_darling"].item() == pytest.approx(anderson_darling(draws.flatten(0, 1), x).mean().item())
    assert found["kendall_error"].item() == pytest.approx(kendall_error(draws.flatten(0, 1), x))
    assert found["energy_score"].item() == pytest.approx(energy_scores(draws, x).mean().item(), rel=1e-5)
    assert set(found) == set(sample_distances(draws, x))
