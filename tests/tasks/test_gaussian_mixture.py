from __future__ import annotations

from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import distributions

from cvae.errors import UserError
from cvae.models.checkpoints import check_config
from cvae.tasks import GaussianMixture, GenerationTask

SEEDS = range(30)


def of_torch(task: GaussianMixture) -> distributions.MixtureSameFamily:
    weights, means, factors = task.density
    each = distributions.MultivariateNormal(means, covariance_matrix=factors @ factors.mT)
    return distributions.MixtureSameFamily(distributions.Categorical(weights), each)


@pytest.mark.parametrize("dimensions", [2, 3, 20])
def test_density_is_that_of_torch(dimensions: int, generator: torch.Generator) -> None:
    task, x = GaussianMixture(dimensions=dimensions), torch.randn(4, 5, dimensions, generator=generator)
    torch.testing.assert_close(task.density.log_prob(x), of_torch(task).log_prob(x))


def test_points_have_mean_and_variance_of_the_density(generator: torch.Generator) -> None:
    task = GaussianMixture(components=5)
    x = task.density.sample(100_000, generator)
    torch.testing.assert_close(x.mean(0), of_torch(task).mean, atol=0.03, rtol=0)
    torch.testing.assert_close(x.var(0), of_torch(task).variance, atol=0, rtol=0.02)


def test_distances_are_those_of_mahalanobis(generator: torch.Generator) -> None:
    density, x = GaussianMixture(components=3).density, torch.randn(6, 3, generator=generator)
    shift = x.unsqueeze(1) - density.means
    inverse = torch.linalg.inv(density.factors @ density.factors.mT)
    expected = torch.einsum("nki,kij,nkj->nk", shift, inverse, shift).sqrt()
    torch.testing.assert_close(density.distances(x), expected)


@pytest.mark.parametrize("separation", [2.0, 4.0, 6.0])
def test_means_are_apart_by_the_separation(separation: float) -> None:
    for seed in SEEDS:
        weights, means, factors = GaussianMixture(None, separation, seed).density
        widest = torch.linalg.matrix_norm(factors, 2)
        nearest = torch.pdist(means) / torch.combinations(widest).amax(1)
        assert nearest.min() >= separation * (1 - 1e-5)
        assert 2 <= len(weights) <= 8
        assert weights.min() >= 0.05
        torch.testing.assert_close(weights.sum(), torch.ones(()))


def test_all_numbers_of_components_occur_and_covariances_are_full() -> None:
    tasks = [GaussianMixture(seed=seed) for seed in SEEDS]
    assert {len(task.density.weights) for task in tasks} == set(range(2, 9))
    factors = tasks[0].density.factors
    assert ((factors @ factors.mT)[:, 0, 1].abs() > 1e-3).all()


def test_same_seed_same_mixture_and_another_seed_another() -> None:
    first, same, other = (GaussianMixture(4, 4.0, seed).density.means for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)


def test_config_gives_the_same_task_and_is_plain() -> None:
    task = GaussianMixture(5, 3.5, 7, 4)
    check_config(task.config)
    again = instantiate(task.config)
    assert again == task
    assert torch.equal(again.density.means, task.density.means)


def test_nothing_is_given() -> None:
    task = GaussianMixture()
    assert isinstance(task, GenerationTask)
    assert task.conditions([]).shape == (1, *task.y_shape)
    with pytest.raises(UserError, match="has no condition"):
        task.conditions([0.5])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"components": 1}, r"data\.components is 1; it must be from 2 to 8"),
        ({"components": 9}, r"data\.components is 9; it must be from 2 to 8"),
        ({"dimensions": 1}, r"data\.dimensions is 1; it must be at least 2"),
        ({"separation": 0.0}, r"data\.separation is 0\.0; it must be a positive number"),
        ({"separation": float("nan")}, r"data\.separation is nan; it must be a positive number"),
    ],
)
def test_bounds(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GaussianMixture(**entries)


@pytest.mark.parametrize("dimensions", [2, 3, 5])
def test_figure_shows_density_and_draws(dimensions: int) -> None:
    task = GaussianMixture(components=3, dimensions=dimensions)
    drawn = task.drawn(torch.arange(1), torch.randn(1, 40, dimensions), torch.empty(1, 0))
    (figure,) = task.figures(drawn).values()
    assert [axis.get_title() for axis in figure.axes] == ["true density, 40 points", "draws, 40 points"]
