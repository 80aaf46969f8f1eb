"""Uniform and Student's t priors; the Gaussian ones are tested with their latent and their models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from cvae.errors import UserError
from cvae.networks import Prior, StandardNormal, StandardStudentT, StandardUniform, ValuesHead, dense, points
from cvae.networks.divergences import LatentOptions
from cvae.networks.posteriors import HALF_SIDE

PRIORS = {
    "uniform": (StandardUniform(2), stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))),
    "t": (StandardStudentT(2, degrees=3.0), stats.t(3)),
    "t of many degrees": (StandardStudentT(2, degrees=40.0), stats.t(40)),
}


def grid(draws: int = 999) -> Tensor:
    """Even points of the unit square, ``(1, draws, 2)``."""
    return torch.linspace(1e-4, 1 - 1e-4, draws).view(1, -1, 1).expand(-1, -1, 2)


@pytest.mark.parametrize("name", PRIORS)
def test_the_inverse_distribution_function_is_that_of_scipy(name: str) -> None:
    prior, law = PRIORS[name]
    u = grid()
    z = prior.icdf(u, torch.zeros(1, 0))
    np.testing.assert_allclose(z.numpy(), law.ppf(u.double().numpy()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_log_prob_is_that_of_scipy(name: str, generator: torch.Generator) -> None:
    prior, law = PRIORS[name]
    z = prior.icdf(torch.rand(4, 7, 2, generator=generator), torch.zeros(4, 0))
    expected = law.logpdf(z.double().numpy()).sum(-1)
    np.testing.assert_allclose(prior.log_prob(z, torch.zeros(4, 0)).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_draws_of_uniform_points_follow_the_prior_of_its_own_posterior(name: str, generator: torch.Generator) -> None:
    prior, law = PRIORS[name]
    z = prior.icdf(torch.rand(1, 4_000, 2, generator=generator), torch.zeros(1, 0))[0]
    assert all(stats.kstest(column.numpy(), law.cdf).pvalue > 1e-3 for column in z.T)


@pytest.mark.parametrize("name", PRIORS)
def test_the_ends_of_the_unit_interval_stay_finite(name: str) -> None:
    z = PRIORS[name][0].icdf(torch.tensor([[[0.0, 1.0]]]), torch.zeros(1, 0), temperature=1.5)
    assert z.isfinite().all()
    assert z[0, 0, 0] < -1 < 1 < z[0, 0, 1]


def test_the_uniform_prior_has_the_spread_of_the_standard_normal_one() -> None:
    z = StandardUniform(2).icdf(grid(), torch.zeros(1, 0))
    torch.testing.assert_close(z.var(1), torch.ones(1, 2), rtol=0.01, atol=0)


@pytest.mark.parametrize("temperature", [0.3, 1.5, 20.0])
def test_a_temperature_keeps_draws_of_a_uniform_prior_in_the_box(temperature: float) -> None:
    u = grid()
    z = StandardUniform(2).icdf(u, torch.zeros(1, 0), temperature)
    assert (z.abs() <= HALF_SIDE).all()
    # as a share of the box, the distribution function of a normal variable with the temperature as its deviation
    shares = 0.5 + z.numpy() / (2 * np.sqrt(3))
    np.testing.assert_allclose(shares, stats.norm.cdf(temperature * stats.norm.ppf(u.double().numpy())), atol=1e-5)


def test_a_higher_temperature_spreads_draws_wider() -> None:
    for prior, _ in PRIORS.values():
        spread = [float(prior.icdf(grid(), torch.zeros(1, 0), temperature).std()) for temperature in (0.5, 1.0, 1.5)]
        assert spread == sorted(spread)
        assert spread[2] > 1.1 * spread[1]


def test_the_kl_of_a_uniform_latent_is_the_logarithm_of_the_share_of_the_box(generator: torch.Generator) -> None:
    prior, outputs = StandardUniform(3), torch.randn(6, 6, generator=generator)
    posterior = prior.posterior(outputs)
    latent = prior.latent(posterior, posterior.sample(2, generator), torch.zeros(6, 0))
    found = latent.bound(torch.zeros(6, 2), 1.0).kl
    # the share of each interval, straight from what the parameters mean
    shares = (1 - outputs[:, :3].tanh().abs()) * outputs[:, 3:].sigmoid()
    expected = -shares.log().sum(1)
    torch.testing.assert_close(found, expected)


def test_the_kl_of_a_student_latent_is_that_of_an_integral(generator: torch.Generator) -> None:
    prior = StandardStudentT(1, degrees=4.0)
    posterior = prior.posterior(torch.tensor([[0.8, -1.0]]))
    latent = prior.latent(posterior, posterior.sample(200_000, generator), torch.zeros(1, 0))
    own, standard = stats.t(4, 0.8, np.exp(-1)), stats.t(4)
    expected = own.expect(lambda z: own.logpdf(z) - standard.logpdf(z))
    assert latent.bound(torch.zeros(1, 200_000), 1.0).kl.item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("degrees", [2.0, -1.0, float("inf")])
def test_degrees_without_a_variance_are_refused(degrees: float) -> None:
    with pytest.raises(UserError, match=r"model\.latent\.noise\.degrees is .*; it must be above 2"):
        StandardStudentT(2, degrees)


Make = Callable[[LatentOptions | None], object]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda latent: points([3], [0], 2, [8], components=4, head=ValuesHead([3]), latent=latent),
            "model.components is 4, a prior of Gaussians; with another noise it must be 1",
        ),
        (
            lambda latent: dense([3], [1], 2, [8], True, ValuesHead([3]), learned_prior=True, latent=latent),
            "model.learned_prior is true, a normal distribution; it must be false with another noise",
        ),
    ],
)
def test_a_prior_of_gaussians_goes_with_gaussian_noise_only(make: Make, message: str) -> None:
    assert make(LatentOptions(StandardNormal))
    with pytest.raises(UserError, match=message):
        make(LatentOptions(StandardUniform))


@pytest.mark.parametrize("noise", [StandardNormal, StandardUniform, StandardStudentT])
def test_the_estimate_of_the_likelihood_is_right_with_every_noise(noise: Callable[[int], Prior]) -> None:
    network = points([1], [0], 1, [8], components=1, head=ValuesHead([1]), latent=LatentOptions(noise))
    x = torch.linspace(-1, 1, 5).view(5, 1)
    network.fit_scale(x, torch.empty(5, 0))
    with torch.no_grad():
        network.log_scale.zero_()
        # a posterior as wide as the prior leaves nothing of it out
        network.encoder.out.weight.zero_()
        network.encoder.out.bias.copy_(torch.tensor([0.0, 20.0] if noise is StandardUniform else [0.0, 0.0]))
        made, log_weights = network.importance(x, torch.empty(5, 0), 20_000)
        normal = torch.distributions.Normal(made.x, made.log_noise.exp())
        found = (log_weights + normal.log_prob(x.unsqueeze(1)).sum(-1)).logsumexp(1)
        # against the mean over an even grid of the prior
        z = network.prior.icdf(((torch.arange(20_000) + 0.5) / 20_000).view(1, -1, 1), torch.empty(1, 0))
        decoded = network.x_scaler.inverse(network.decoder(z, torch.empty(1, 0)))
        normal = torch.distributions.Normal(decoded, network.log_noise(torch.empty(1, 0)).exp())
        expected = normal.log_prob(x.unsqueeze(1)).sum(-1).logsumexp(1) - np.log(20_000)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
