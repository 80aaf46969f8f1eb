"""Divergences of a batch of posteriors from the prior."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks import (
    KL,
    MMD,
    BatchDivergence,
    Gaussian,
    LearnedMixture,
    SlicedWasserstein,
    StandardNormal,
    StandardStudentT,
    StandardUniform,
)
from cvae.networks.posteriors import gaussian

BATCH = [MMD, SlicedWasserstein]


def narrow(mean: Tensor) -> Gaussian:
    """Posteriors that are points, almost."""
    return Gaussian(mean, torch.full_like(mean, -12.0))


def distance(made: BatchDivergence, posterior: Gaussian, y: Tensor) -> float:
    """What the divergence adds to the total of a sample without a cost, at beta 1."""
    latent = made.latent(StandardNormal(2), posterior, posterior.sample(1), y)
    total = latent.bound(torch.zeros(len(y), 1), 1.0).total
    assert (total == total[0]).all()
    return float(total[0])


@pytest.mark.parametrize("kind", BATCH)
def test_it_is_small_for_samples_of_the_prior_and_grows_with_what_is_wrong(kind: type[BatchDivergence]) -> None:
    made, y = kind(weight=1.0), torch.randn(1_000, 3)
    z = torch.randn(1_000, 2)
    right = distance(made, narrow(z), y)
    shifted = [distance(made, narrow(z + shift), y) for shift in (0.5, 1.0)]
    assert 0 <= right < 0.1 * shifted[0]
    assert shifted[0] < shifted[1]
    # too narrow, too wide, and collapsed
    for wrong in (0.4 * z, 2 * z, 0 * z):
        assert distance(made, narrow(wrong), y) > 3 * right


@pytest.mark.parametrize("kind", BATCH)
def test_it_sees_that_z_tells_y_though_z_alone_looks_like_the_prior(kind: type[BatchDivergence]) -> None:
    made, z = kind(weight=1.0), torch.randn(1_000, 2)
    independent = distance(made, narrow(z), torch.randn(1_000, 2))
    assert distance(made, narrow(z), z) > 5 * independent


@pytest.mark.parametrize("kind", BATCH)
def test_total_and_kl_are_weighted_as_in_infovae(kind: type[BatchDivergence]) -> None:
    prior, y = StandardNormal(2), torch.randn(20, 3)
    posterior, cost = Gaussian(torch.randn(20, 2), torch.randn(20, 2)), torch.rand(20, 1)
    z = posterior.sample(1)
    law = torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_var).exp())
    kl = torch.distributions.kl_divergence(law, torch.distributions.Normal(0.0, 1.0)).sum(1)

    def bound(weight: float, share: float, beta: float) -> Tensor:
        torch.manual_seed(1)
        found = kind(weight, kl=share).latent(prior, posterior, z, y).bound(cost, beta)
        torch.testing.assert_close(found.kl, kl)
        torch.testing.assert_close(found.weights, torch.ones(20, 1))
        return found.total

    torch.testing.assert_close(bound(5.0, 0.3, 0.0), cost[:, 0])
    torch.testing.assert_close(bound(0.0, 0.3, 2.0), cost[:, 0] + 0.6 * kl)
    apart = bound(1.0, 0.0, 1.0) - cost[:, 0]
    torch.testing.assert_close(bound(5.0, 0.3, 2.0), cost[:, 0] + 0.6 * kl + 10 * apart)


def test_sliced_wasserstein_is_the_squared_shift_shared_among_the_dimensions() -> None:
    # of points in d dimensions, shifted by s: |<s, direction>|^2 is |s|^2 / d on average
    made, first = SlicedWasserstein(weight=1.0, directions=4_000), torch.randn(300, 3)
    found = made.distance(first, first + torch.tensor([1.0, 2.0, 0.0]))
    assert float(found) == pytest.approx(5 / 3, rel=0.05)


@pytest.mark.parametrize("kind", BATCH)
@pytest.mark.parametrize("y_size", [0, 3])
def test_nothing_needs_to_be_given_and_one_pair_is_enough(kind: type[BatchDivergence], y_size: int) -> None:
    for count in (1, 2):
        assert math.isfinite(distance(kind(weight=1.0), narrow(torch.randn(count, 2)), torch.randn(count, y_size)))


@pytest.mark.parametrize("kind", BATCH)
def test_a_learned_prior_is_drawn_to_the_posteriors(kind: type[BatchDivergence]) -> None:
    prior = LearnedMixture(2, components=3)
    z = torch.randn(200, 1, 2)
    latent = kind(weight=1.0).latent(prior, narrow(z[:, 0]), z, torch.empty(200, 0))
    latent.bound(torch.zeros(200, 1), 1.0).total.mean().backward()
    assert (prior.means.grad != 0).any()


@pytest.mark.parametrize("weights", [(-1.0, 0.0), (1.0, -0.5)])
@pytest.mark.parametrize("kind", BATCH)
def test_negative_weights_are_refused(kind: type[BatchDivergence], weights: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"model\.latent\.divergence has weight=.* both must be at least 0"):
        kind(*weights)


def test_sliced_wasserstein_needs_a_direction() -> None:
    with pytest.raises(UserError, match=r"model\.latent\.divergence\.directions is 0; it must be at least 1"):
        SlicedWasserstein(weight=1.0, directions=0)


LAWS = {
    StandardNormal: stats.norm(),
    StandardUniform: stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    StandardStudentT: stats.t(5),
}


@pytest.mark.parametrize("noise", LAWS)
@pytest.mark.parametrize("made", [MMD(weight=300.0), SlicedWasserstein(weight=100.0)], ids=["MMD", "sliced"])
def test_a_trained_latent_follows_its_prior(made: BatchDivergence, noise: type) -> None:
    """The encoder of skewed data, whose decoder asks for a latent that is as skewed."""
    prior, encoder = noise(1), nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(encoder.parameters(), 0.03)
    for _ in range(150):
        x = torch.randn(128, 1).exp()
        posterior = prior.posterior(encoder(x))
        z = posterior.sample(1)
        cost = (z - x.unsqueeze(1)).square().mean(2)
        optimizer.zero_grad()
        made.latent(prior, posterior, z, torch.empty(128, 0)).bound(cost, 1.0).total.mean().backward()
        optimizer.step()
    with torch.no_grad():
        z = prior.posterior(encoder(torch.randn(4_000, 1).exp())).sample(1)
    # without the divergence it is 0.5
    assert stats.kstest(z.flatten().numpy(), LAWS[noise].cdf).statistic < 0.15


def test_the_kl_leaves_the_latent_of_the_prior_as_it_is() -> None:
    prior, posterior = StandardNormal(2), gaussian(torch.randn(4, 4))
    z, cost = posterior.sample(1), torch.rand(4, 1)
    for found, expected in zip(
        KL().latent(prior, posterior, z, torch.empty(4, 0)).bound(cost, 0.3),
        prior.latent(posterior, z, torch.empty(4, 0)).bound(cost, 0.3),
        strict=True,
    ):
        assert torch.equal(found, expected)
