from __future__ import annotations

import pytest
import torch
from torch import distributions

from cvae.errors import UserError
from cvae.losses import Objective, gaussian
from cvae.networks import (
    MMD,
    BatchDivergence,
    Gaussian,
    LatentOptions,
    LearnedMixture,
    NoisyCVAE,
    Prior,
    SlicedWasserstein,
    StandardNormal,
    StandardScaler,
    ValuesHead,
    points,
)


def network(components: int = 4) -> NoisyCVAE:
    found = points([3], [0], latent_dim=2, hidden=[16], components=components, head=ValuesHead([3]))
    x = 5 + torch.tensor([1.0, 2.0, 0.1]) * torch.randn(200, 3)
    found.fit_scale(x, torch.empty(200, 0))
    return found


def test_scaler_brings_points_to_mean_0_and_spread_1_and_back() -> None:
    x = 5 + torch.tensor([1.0, 200.0]) * torch.randn(300, 2)
    scaler = StandardScaler((2,))
    scaler.fit(x)
    torch.testing.assert_close(scaler(x).mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaler(x).std(0), torch.ones(2))
    torch.testing.assert_close(scaler.inverse(scaler(x)), x)


def test_scaler_leaves_a_constant_coordinate_finite() -> None:
    scaler = StandardScaler((1,))
    scaler.fit(torch.full((10, 1), 3.0))
    assert scaler(torch.tensor([[3.0]])).item() == 0


def test_draws_scatter_around_the_decoder_by_the_noise() -> None:
    found = network()
    u = torch.rand(1, 20_000, found.noise_dim)
    u[..., : found.prior.noise_dim] = 0.3
    spread = found.draw(torch.empty(1, 0), u).std(1)[0]
    torch.testing.assert_close(spread, found.log_noise(torch.empty(1, 0)).exp(), rtol=0.03, atol=0)


def test_noise_is_in_the_units_of_x() -> None:
    found = network()
    torch.testing.assert_close(found.log_noise(torch.empty(1, 0)), -1 + found.x_scaler.scale.log())


def test_noise_may_depend_on_the_condition() -> None:
    found = points((3,), (2,), 2, [8], 1, ValuesHead((3,)), noise_sees_y=True)
    assert found.slopes is not None
    torch.nn.init.normal_(found.slopes)
    y = torch.tensor([[0.0, 0.5], [-1.0, 2.0]])
    u = torch.rand(2, 20_000, found.noise_dim)
    u[..., : found.prior.noise_dim] = 0.3
    expected = (-1 + y.asinh() @ found.slopes).exp()
    torch.testing.assert_close(found.draw(y, u).std(1), expected, rtol=0.03, atol=0)
    # the likelihood is that of the same normal distributions
    x = torch.randn(2, 3)
    reconstruction = found.reconstruct(x, y)
    cost = Objective(gaussian(), 1.0, 1.0, 0.0, reduction="sum").x_cost(reconstruction, x)
    density = torch.distributions.Normal(reconstruction.x[:, 0], expected).log_prob(x).sum(1)
    torch.testing.assert_close(cost[:, 0], -density)


def test_reconstruction_holds_the_noise_and_one_sample() -> None:
    found = network()
    reconstruction = found.reconstruct(torch.randn(7, 3), torch.empty(7, 0))
    assert reconstruction.x.shape == (7, 1, 3)
    assert reconstruction.log_noise is not None
    assert reconstruction.log_noise.shape == (3,)


def test_one_component_is_the_standard_normal_prior() -> None:
    assert isinstance(network(components=1).prior, StandardNormal)
    assert isinstance(network(components=2).prior, LearnedMixture)


@pytest.mark.parametrize(("entry", "size"), [("latent_dim", 0), ("components", 0)])
def test_sizes_below_one_are_refused(entry: str, size: int) -> None:
    sizes = {"latent_dim": 2, "components": 4} | {entry: size}
    with pytest.raises(UserError, match=rf"model\.{entry} is 0"):
        points([3], [0], hidden=[16], head=ValuesHead([3]), **sizes)


@pytest.mark.parametrize("kind", [MMD, SlicedWasserstein])
def test_a_learned_mixture_needs_a_kl_that_teaches_its_weights(kind: type[BatchDivergence]) -> None:
    def trained(components: int, kl: float) -> Prior:
        latent = LatentOptions(divergence=kind(weight=1.0, kl=kl))
        found = points([3], [0], 2, hidden=[16], components=components, head=ValuesHead([3]), latent=latent)
        reconstruction = found.reconstruct(torch.randn(20, 3), torch.empty(20, 0))
        reconstruction.latent.bound(torch.zeros(20, 1), 1.0).total.sum().backward()
        return found.prior

    with pytest.raises(UserError, match=r"model\.components is 4, .*divergence\.kl is 0; set model\.components=1, or"):
        trained(4, kl=0.0)
    assert (trained(4, kl=0.1).logits.grad != 0).any()
    assert isinstance(trained(1, kl=0.0), StandardNormal)


def mixture_of_torch(prior: LearnedMixture) -> distributions.MixtureSameFamily:
    each = distributions.Independent(distributions.Normal(prior.means, (0.5 * prior.log_vars).exp()), 1)
    return distributions.MixtureSameFamily(distributions.Categorical(logits=prior.logits), each)


def learned_mixture() -> LearnedMixture:
    prior = LearnedMixture(2, 3)
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
        prior.log_vars.normal_()
    return prior.requires_grad_(False)


def test_log_prob_of_the_mixture_is_that_of_torch() -> None:
    prior, z = learned_mixture(), torch.randn(5, 7, 2)
    torch.testing.assert_close(prior.log_prob(z, torch.empty(5, 0)), mixture_of_torch(prior).log_prob(z))


def test_draws_of_the_mixture_have_its_mean_and_variance() -> None:
    prior = learned_mixture()
    z = prior.icdf(torch.rand(1, 100_000, prior.noise_dim), torch.empty(1, 0))[0]
    expected = mixture_of_torch(prior)
    torch.testing.assert_close(z.mean(0), expected.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), expected.variance, atol=0, rtol=0.03)


def test_bound_of_the_mixture_estimates_the_kl() -> None:
    prior = learned_mixture()
    # all components alike: a single Gaussian, whose KL is known
    prior.means.copy_(prior.means[:1].expand(3, -1))
    prior.log_vars.copy_(prior.log_vars[:1].expand(3, -1))
    posterior = Gaussian(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, -0.5]]))
    z = posterior.sample(100_000)
    bound = prior.latent(posterior, z, torch.empty(1, 0)).bound(torch.zeros(1, 100_000), beta=1.0)
    expected = posterior.kl(Gaussian(prior.means[:1], prior.log_vars[:1])).sum(-1)
    torch.testing.assert_close(bound.kl, expected, atol=0, rtol=0.02)
    torch.testing.assert_close(bound.total, bound.kl)
