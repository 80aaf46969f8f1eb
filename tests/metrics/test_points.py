"""Distances of draws from points of the true distribution."""

from __future__ import annotations

import math

import pytest
import torch

from cvae.metrics import Drawn
from cvae.metrics.distances import median_distance, squared_mmd
from cvae.metrics.points import PointDistances, distances_to_points


def test_draws_like_the_points_are_as_far_from_them_as_they_from_one_another(generator: torch.Generator) -> None:
    points, draws = torch.randn(5_000, 2, generator=generator), torch.randn(500, 2, generator=generator)
    found = distances_to_points(draws, points)
    assert 0.6 < found["mmd_ratio"] < 1.5
    assert 0.6 < found["sliced_wasserstein_ratio"] < 1.5
    shifted = distances_to_points(draws + 0.5, points)
    assert shifted["mmd_ratio"] > 3
    assert shifted["sliced_wasserstein_ratio"] > 3
    assert (shifted["mmd_real"], shifted["sliced_wasserstein_real"]) == (
        found["mmd_real"],
        found["sliced_wasserstein_real"],
    )
    assert shifted["mmd_ratio"] == pytest.approx(shifted["mmd"] / shifted["mmd_real"])


def test_distances_are_means_over_parts_as_large_as_the_draws(generator: torch.Generator) -> None:
    points, draws = torch.randn(250, 2, generator=generator), torch.randn(100, 2, generator=generator)
    unit = median_distance(points)
    # the last 50 points are no whole part
    each = [float(squared_mmd(draws, part, unit)) ** 0.5 for part in (points[:100], points[100:200])]
    found = distances_to_points(draws, points)
    assert found["mmd"] == pytest.approx(sum(each) / 2, rel=1e-5)
    assert found["mmd_real"] == pytest.approx(float(squared_mmd(points[:100], points[100:200], unit)) ** 0.5, rel=1e-5)


def test_draws_that_are_not_finite_are_counted_and_left_out(generator: torch.Generator) -> None:
    points, draws = torch.randn(400, 2, generator=generator), torch.randn(50, 2, generator=generator)
    lost = torch.tensor([[math.nan, 0.0], [1.0, math.inf], [math.nan, math.nan]])
    found = distances_to_points(torch.cat([draws, lost]), points)
    assert found == distances_to_points(draws, points) | {"diverged": 3.0}
    nothing = distances_to_points(lost, points)
    assert nothing.pop("diverged") == 3
    assert all(math.isnan(value) for value in nothing.values())


def test_the_metric_pools_the_draws_of_all_conditions(generator: torch.Generator) -> None:
    points, x = torch.randn(400, 2, generator=generator), torch.randn(4, 25, 2, generator=generator)
    metric = PointDistances(points)
    for some in (slice(0, 3), slice(3, 4)):
        metric.update(Drawn(torch.arange(4)[some], x[some], torch.empty(4, 0)[some]))
    expected = distances_to_points(x.flatten(0, 1), points)
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(expected)
