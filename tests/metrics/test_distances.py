"""Distances between samples of two distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from sklearn.metrics.pairwise import rbf_kernel

from cvae.metrics.distances import (
    median_distance,
    random_directions,
    sliced_wasserstein,
    squared_mmd,
    wasserstein,
)


@pytest.mark.parametrize(("count", "tolerance"), [(900, 1e-5), (700, 0.02)])
def test_wasserstein_agrees_with_scipy(generator: torch.Generator, count: int, tolerance: float) -> None:
    first, second = torch.randn(900, 1, generator=generator), 0.5 + 2 * torch.rand(count, 1, generator=generator)
    truth = wasserstein_distance(first[:, 0].numpy(), second[:, 0].numpy())
    assert float(wasserstein(first, second)) == pytest.approx(truth, rel=tolerance)


def test_the_second_wasserstein_distance_of_two_gaussians(generator: torch.Generator) -> None:
    first, second = torch.randn(200_000, 1, generator=generator), 1 + 2 * torch.randn(200_000, 1, generator=generator)
    # (m1 - m2)^2 + (s1 - s2)^2, Dowson & Landau 1982
    assert float(wasserstein(first, second, order=2)) == pytest.approx(math.sqrt(2), rel=0.02)


@pytest.mark.parametrize("order", [1, 2])
def test_sliced_wasserstein_of_a_shift(generator: torch.Generator, order: int) -> None:
    points, shift = torch.randn(500, 3, generator=generator), torch.tensor([3.0, 0.0, 4.0])
    directions = random_directions(20_000, 3, generator)
    # a shift along u costs |u . shift|, whose mean over the sphere is |shift| / 2, its mean square |shift|^2 / 3
    truth = {1: 5 / 2, 2: 5 / math.sqrt(3)}[order]
    assert float(sliced_wasserstein(points, points + shift, directions, order)) == pytest.approx(truth, rel=0.02)


def test_directions_have_length_one_and_no_preference(generator: torch.Generator) -> None:
    directions = random_directions(20_000, 4, generator)
    assert torch.allclose(directions.norm(dim=1), torch.ones(20_000))
    assert torch.allclose(directions.T @ directions / 20_000, torch.eye(4) / 4, atol=0.01)


def test_mmd_agrees_with_kernels_of_sklearn(generator: torch.Generator) -> None:
    first = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    second = 0.5 + torch.randn(80, 2, generator=generator, dtype=torch.float64)
    unit, widths = 1.3, (0.5, 2.0)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(np.mean([rbf_kernel(a, b, gamma=1 / (2 * (unit * width) ** 2)).mean() for width in widths]))

    truth = kernel(first, first) + kernel(second, second) - 2 * kernel(first, second)
    assert float(squared_mmd(first, second, unit, widths)) == pytest.approx(truth, rel=1e-9)


def test_mmd_and_its_gradient_vanish_for_the_same_points(generator: torch.Generator) -> None:
    points = torch.randn(50, 2, generator=generator)
    moved = points.clone().requires_grad_()
    found = squared_mmd(moved, points, 1.0)
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == pytest.approx(0, abs=1e-6)
    assert moved.grad is not None
    assert float(moved.grad.abs().max()) < 1e-6


def test_median_distance_of_three_points_on_a_line() -> None:
    assert float(median_distance(torch.tensor([[0.0], [1.0], [5.0]]))) == 4
