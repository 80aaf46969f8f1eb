from __future__ import annotations

import pytest
import torch

from cvae.metrics.clusters import CLUSTERS, count_modes, find_clusters, shares_error
from cvae.tasks import GaussianMixture


@pytest.mark.parametrize(("components", "seed"), [(2, 0), (4, 1), (8, 2)])
def test_clusters_and_modes_of_a_mixture_are_its_components(
    components: int, seed: int, generator: torch.Generator
) -> None:
    density = GaussianMixture(components, 4.0, seed).density
    x = density.sample(1_500, generator)
    found = find_clusters(x)
    assert len(found.shares) == components
    assert len(found.silhouettes) == len(CLUSTERS)
    assert sum(found.shares) == pytest.approx(1)
    assert shares_error(found.shares, density.weights) < 0.04
    assert count_modes(x) == components


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_one_gaussian_has_one_mode_in_any_unit(scale: float, generator: torch.Generator) -> None:
    assert count_modes(scale * torch.randn(2_000, 3, generator=generator)) == 1


def test_few_points_between_two_modes_are_no_mode(generator: torch.Generator) -> None:
    x = torch.randn(1_000, 3, generator=generator)
    x[:500, 0] += 6
    x[500:520, 0] = torch.linspace(0, 6, 20)
    assert count_modes(x) == 2


def test_two_gaussians_within_one_spread_have_one_mode(generator: torch.Generator) -> None:
    x = torch.randn(2_000, 3, generator=generator)
    x[:1_000, 0] += 1
    assert count_modes(x) == 1


def test_shares_are_compared_in_order_of_size() -> None:
    assert shares_error([0.3, 0.7], torch.tensor([0.75, 0.25])) == pytest.approx(0.05)


def test_a_missing_cluster_counts_with_its_weight() -> None:
    assert shares_error([1.0], torch.tensor([0.6, 0.4])) == pytest.approx(0.4)
    assert shares_error([0.5, 0.3, 0.2], torch.tensor([0.5, 0.5])) == pytest.approx(0.2)
