"""Likelihood, bound and draws of a linear Gaussian model, whose density is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, distributions, nn

from cvae.data import Batch
from cvae.errors import UserError
from cvae.losses import Objective, gaussian
from cvae.models import CVAE
from cvae.networks import (
    ConditionScaler,
    Gaussian,
    LatentNetwork,
    NoisyCVAE,
    StandardNormal,
    StandardScaler,
    ValuesHead,
    mixture,
)
from cvae.tasks import GaussianMixture

W, SHIFT = torch.tensor([[1.0, 0.2], [0.0, 0.7], [0.5, -0.3]]), torch.tensor([1.0, -2.0, 0.5])
NOISE = 0.4
#: of the posterior: its covariance, and mean per unit of x
COVARIANCE = torch.linalg.inv(torch.eye(2) + W.T @ W / NOISE**2)
GAIN = COVARIANCE @ W.T / NOISE**2
DENSITY = distributions.MultivariateNormal(SHIFT, W @ W.T + NOISE**2 * torch.eye(3))


class Decoder(nn.Module):
    """The decoder ``W z + shift``."""

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return z @ W.T + SHIFT


class Encoder(nn.Module):
    """The exact mean of the posterior, with a spread that is a fifth too wide, so that importance weights differ."""

    def forward(self, x: Tensor, y: Tensor) -> Gaussian:
        variances = (1.2**2 * COVARIANCE.diagonal()).expand(len(x), -1)
        return Gaussian((x - SHIFT) @ GAIN.T, variances.log())


def model(reduction: str = "sum", network: LatentNetwork | None = None) -> CVAE:
    if network is None:
        network = NoisyCVAE(Encoder(), Decoder(), StandardNormal(2), 2, StandardScaler((3,)), ConditionScaler((0,)))
        nn.init.constant_(network.log_scale, float(torch.tensor(NOISE).log()))
    return CVAE(network, Objective(gaussian(), 1.0, 1.0, 0.0, reduction=reduction), GaussianMixture()).eval()


def points(count: int) -> Batch:
    return Batch(DENSITY.sample((count,)), torch.empty(count, 0))


def test_importance_sampling_gives_the_density() -> None:
    batch = points(50)
    found = model().log_likelihood(batch, samples=5_000)
    torch.testing.assert_close(found, DENSITY.log_prob(batch.x), atol=0.03, rtol=0)


def test_the_estimate_does_not_depend_on_the_portions_but_for_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = points(10)
    whole = model().log_likelihood(batch, samples=2_000)
    monkeypatch.setattr("cvae.models.cvae.DECODED", 3_000)
    torch.testing.assert_close(model().log_likelihood(batch, samples=2_000), whole, atol=0.1, rtol=0)


@torch.no_grad()
def test_the_elbo_lies_below_the_density_by_the_misfit_of_the_posterior() -> None:
    batch = points(5_000)
    gap = (DENSITY.log_prob(batch.x) + model().loss(batch)["loss"]).mean()
    exact = distributions.MultivariateNormal(torch.zeros(2), COVARIANCE)
    wide = distributions.MultivariateNormal(torch.zeros(2), 1.2**2 * COVARIANCE.diagonal().diag())
    assert float(gap) == pytest.approx(float(distributions.kl_divergence(wide, exact)), abs=0.05)


def test_draws_have_the_covariance_of_the_density(generator: torch.Generator) -> None:
    x = model().draw(torch.empty(1, 0), 100_000, generator)[0]
    torch.testing.assert_close(x.T.cov(), DENSITY.covariance_matrix, atol=0.03, rtol=0)
    torch.testing.assert_close(x.mean(0), SHIFT, atol=0.02, rtol=0)


def test_a_mean_over_coordinates_is_no_likelihood() -> None:
    with pytest.raises(UserError, match=r"loss\.reduction is mean; a likelihood needs sum"):
        model("mean").log_likelihood(points(2))


def test_a_network_without_an_estimate_says_so() -> None:
    categorical = mixture([1], components=4, enumerated=2, width=8, blocks=1, head=ValuesHead([3]))
    with pytest.raises(UserError, match="CategoricalCVAE gives no estimate of the likelihood"):
        model(network=categorical).log_likelihood(points(2))
