from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from cvae.metrics import dependence
from cvae.metrics.dependence import kendall_error, kendall_values


def correlated(count: int, rho: float, generator: torch.Generator) -> torch.Tensor:
    x = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return torch.stack([x[:, 0], rho * x[:, 0] + (1 - rho**2) ** 0.5 * x[:, 1]], dim=1)


def test_values_by_hand() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])
    torch.testing.assert_close(kendall_values(x), torch.tensor([0.0, 1 / 3, 1 / 3, 1.0]))


def test_equal_coordinates_are_not_smaller() -> None:
    assert kendall_values(torch.tensor([[0.0, 1.0], [0.0, 2.0]])).tolist() == [0.0, 0.0]


def test_mean_value_gives_kendalls_tau(generator: torch.Generator) -> None:
    # Genest & Rivest 1993: tau = 4 E[W] - 1
    x = correlated(500, 0.6, generator)
    tau = kendalltau(*x.T.numpy()).statistic
    assert 4 * float(kendall_values(x).mean()) - 1 == pytest.approx(tau, abs=1e-6)


def test_chunks_change_nothing(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(101, 3, generator=generator)
    whole = kendall_values(x)
    monkeypatch.setattr(dependence, "PAIRS", 700)
    assert torch.equal(kendall_values(x), whole)


def test_error_is_the_mean_difference_of_sorted_values(generator: torch.Generator) -> None:
    x, reference = correlated(200, 0.2, generator), correlated(200, 0.8, generator)
    expected = (kendall_values(x).sort().values - kendall_values(reference).sort().values).abs().mean()
    assert kendall_error(x, reference) == pytest.approx(float(expected), abs=1e-6)


def test_error_of_samples_of_different_sizes_is_the_area_between_quantile_functions(
    generator: torch.Generator,
) -> None:
    x, reference = correlated(300, 0.2, generator), correlated(200, 0.8, generator)
    levels = (np.arange(600) + 0.5) / 600
    first, second = (np.quantile(kendall_values(one), levels, method="inverted_cdf") for one in (x, reference))
    assert kendall_error(x, reference) == pytest.approx(np.abs(first - second).mean(), abs=1e-6)


def test_error_is_of_the_dependence_alone(generator: torch.Generator) -> None:
    x = correlated(400, 0.5, generator)
    assert kendall_error(torch.exp(3 * x) + 7, x) == 0
    assert kendall_error(x[:, 0:1].expand(-1, 2), x) > 0.1
    assert kendall_error(correlated(4_000, 0.5, generator), correlated(4_000, 0.5, generator)) < 0.02


def test_a_single_point_has_no_others() -> None:
    with pytest.raises(ValueError, match="1 points; the Kendall function needs at least 2"):
        kendall_values(torch.zeros(1, 6))
