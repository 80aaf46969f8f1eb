"""The unadjusted Langevin algorithm on densities of which its own stationary distribution is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.models import langevin

MEAN = torch.tensor([1.0, -2.0])
AXES = torch.linalg.qr(torch.tensor([[2.0, 1.0], [1.0, 3.0]])).Q
PRECISIONS = torch.tensor([1.0, 4.0])


def gaussian(x: Tensor) -> Tensor:
    """Minus the log-density of ``N(MEAN, AXES diag(1 / PRECISIONS) AXES^T)``, up to a constant."""
    return 0.5 * (((x - MEAN) @ AXES).square() * PRECISIONS).sum(-1)


def start(count: int, generator: torch.Generator, dimensions: int = 2) -> Tensor:
    return 3 * torch.randn(count, dimensions, generator=generator)


@pytest.mark.parametrize("step_size", [0.05, 0.2, 0.4])
def test_mean_and_covariance_of_a_gaussian_are_those_of_the_algorithm(
    generator: torch.Generator, step_size: float
) -> None:
    found = langevin(gaussian, start(10_000, generator), math.ceil(6 / step_size), step_size, generator).x
    variances = 1 / PRECISIONS / (1 - step_size * PRECISIONS / 2)
    torch.testing.assert_close(found.mean(0), MEAN, atol=0.06, rtol=0)
    torch.testing.assert_close(found.T.cov(), AXES * variances @ AXES.T, atol=0.06 * float(variances.max()), rtol=0)


def test_the_bias_shrinks_linearly_with_the_step_size(generator: torch.Generator) -> None:
    for step_size in (0.4, 0.2, 0.1):
        # starts at the density itself, so that only the bias is left to find
        begin = torch.randn(20_000, 4, generator=generator)
        found = langevin(lambda x: 0.5 * x.square().sum(-1), begin, math.ceil(5 / step_size), step_size, generator).x
        exact = step_size / 2 / (1 - step_size / 2)
        # four standard errors of a variance
        assert float(found.var()) - 1 == pytest.approx(exact, abs=4 * math.sqrt(2 / found.numel()) * (1 + exact))


def test_mean_and_covariance_of_a_mixture(generator: torch.Generator) -> None:
    weights, means, spread = torch.tensor([0.3, 0.7]), torch.tensor([[-1.2, 0.5], [1.2, -0.5]]), 0.7

    def energy(x: Tensor) -> Tensor:
        parts = [
            weight.log() - (x - mean).square().sum(-1) / (2 * spread**2)
            for weight, mean in zip(weights, means, strict=True)
        ]
        return -torch.logaddexp(*parts)

    found = langevin(energy, start(2_000, generator), 500, 0.04, generator).x
    mean = weights @ means
    covariance = spread**2 * torch.eye(2) + (means - mean).T * weights @ (means - mean)
    torch.testing.assert_close(found.mean(0), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(found.T.cov(), covariance, atol=0.12, rtol=0)


@pytest.mark.parametrize(("step_size", "diverges"), [(0.45, False), (0.55, True)])
def test_a_gaussian_diverges_beyond_two_over_its_precision(
    generator: torch.Generator, step_size: float, diverges: bool
) -> None:
    found = langevin(gaussian, start(100, generator), 200, step_size, generator)
    assert found.diverged.all() == diverges == found.diverged.any()
    assert found.x.isnan().all() == diverges == found.x.isnan().any()


def test_one_chain_that_diverges_leaves_the_others_as_they_are(generator: torch.Generator) -> None:
    def quartic(x: Tensor) -> Tensor:
        return x.square().square().sum(-1) / 4

    # beyond sqrt(2 / step_size) a step leads further out
    begin = torch.tensor([[0.5], [50.0], [-1.0]])
    found = langevin(quartic, begin, 20, 0.1, generator)
    near = langevin(quartic, torch.tensor([[0.5], [1.0], [-1.0]]), 20, 0.1, torch.Generator().manual_seed(0))
    assert found.diverged.tolist() == [False, True, False]
    assert torch.equal(found.x[[0, 2]], near.x[[0, 2]])
    assert found.x[1].isnan().all()


def test_the_path_begins_at_the_start_and_leads_to_the_end(generator: torch.Generator) -> None:
    begin = start(7, generator)
    ends = [langevin(gaussian, begin, steps, 0.1, torch.Generator().manual_seed(1), kept=3) for steps in (3, 9)]
    assert torch.equal(ends[0].path, ends[1].path)
    assert ends[0].path.shape == (4, 7, 2)
    assert torch.equal(ends[0].path[0], begin)
    assert torch.equal(ends[0].path[-1], ends[0].x)
    assert not torch.equal(ends[1].path[-1], ends[1].x)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_moves_where_gradients_are_off_and_leaves_none(generator: torch.Generator, mode: type) -> None:
    with mode():
        begin = torch.ones(5, 2)
        inside = langevin(gaussian, begin, 4, 0.1, torch.Generator().manual_seed(1)).x
    outside = langevin(gaussian, torch.ones(5, 2), 4, 0.1, torch.Generator().manual_seed(1)).x
    assert torch.equal(inside, outside)
    assert not inside.requires_grad
    assert not inside.is_inference()


def test_no_step_leaves_the_start(generator: torch.Generator) -> None:
    assert torch.equal(langevin(gaussian, torch.ones(5, 2), 0, 0.1, generator).x, torch.ones(5, 2))


@pytest.mark.parametrize(
    ("steps", "step_size", "message"),
    [(-1, 0.1, "steps is -1"), (1, 0.0, "step_size is 0.0"), (1, math.nan, "step_size is nan")],
)
def test_bounds(generator: torch.Generator, steps: int, step_size: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        langevin(gaussian, torch.ones(5, 2), steps, step_size, generator)
