"""Distributions over the latent, and the bound that each kind of latent gives."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from cvae.errors import UserError

# log-variances beyond this say nothing and overflow exp
LOG_VAR_LIMIT = 12.0


class Gaussian(NamedTuple):
    """Diagonal Gaussian, ``mean`` and ``log_var`` of shape ``(batch, latent_dim)``."""

    mean: Tensor
    log_var: Tensor

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Reparametrised samples ``(batch, samples, latent_dim)`` (Kingma & Welling 2014)."""
        shape = (self.mean.shape[0], samples, self.mean.shape[1])
        noise = torch.randn(shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean.unsqueeze(1) + (0.5 * self.log_var).exp().unsqueeze(1) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density ``(batch, samples)`` of ``z`` ``(batch, samples, latent_dim)``."""
        mean, log_var = self.mean.unsqueeze(1), self.log_var.unsqueeze(1)
        squares = (z - mean).square() * (-log_var).exp()
        return -0.5 * (squares + log_var + math.log(2 * math.pi)).sum(-1)

    def kl(self, other: Gaussian) -> Tensor:
        """KL(self || other) per latent dimension, ``(batch, latent_dim)``, in nats."""
        ratio = (self.log_var - other.log_var).exp()
        shift = (self.mean - other.mean).square() * (-other.log_var).exp()
        return 0.5 * (ratio + shift - 1 + other.log_var - self.log_var)


def gaussian(parameters: Tensor) -> Gaussian:
    """Split ``(batch, 2 latent_dim)`` into mean and bounded log-variance."""
    # in full precision: half has too few digits for what is decoded from it
    mean, log_var = parameters.float().chunk(2, dim=-1)
    return Gaussian(mean, log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT))


def mutual_information(posterior: Gaussian, z: Tensor) -> Tensor:
    """Mutual information of latent and data in nats, with the mixture of the batch's posteriors as the marginal of z.

    Hoffman & Johnson 2016, "ELBO surgery", with the estimate of He et al. 2019, "Lagging inference networks".

    Args:
        posterior: of each sample, ``(batch, latent_dim)``.
        z: one draw from each posterior, ``(batch, latent_dim)``.
    """
    every = posterior.log_prob(z.unsqueeze(0).expand(len(z), -1, -1))  # (posterior, draw)
    own = every.diagonal()
    return (own - every.logsumexp(0) + math.log(len(z))).mean()


def normal_icdf(u: Tensor) -> Tensor:
    """Uniform numbers in (0, 1) to standard normal ones, by the inverse distribution function."""
    return torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))


class Bound(NamedTuple):
    """Per-sample bound, each ``(batch,)``: the total to be minimised, and the KL in nats; and the weight of each sample
    of the latent in the reconstruction terms, ``(batch, samples)``, which sum to 1."""

    total: Tensor
    kl: Tensor
    weights: Tensor


class Latent(Protocol):
    """Posterior and prior of the latent of a training batch."""

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """Expected cost plus ``beta`` times the KL of posterior and prior.

        Args:
            cost: weighted reconstruction terms of each sample of the latent, ``(batch, samples)``.
            beta: weight of the KL (Higgins et al. 2017); at least 0.
        """


class GaussianLatent(NamedTuple):
    """A Gaussian posterior, of which the samples were drawn, and a Gaussian prior; each ``(batch, latent_dim)``."""

    posterior: Gaussian
    prior: Gaussian

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """Mean cost of the samples plus ``beta * KL``."""
        kl = self.posterior.kl(self.prior).sum(-1)
        weights = torch.full_like(cost, 1 / cost.shape[1]).detach()
        return Bound(cost.mean(1) + beta * kl, kl, weights)


class EnumeratedLatent(NamedTuple):
    """A discrete latent whose values were enumerated.

    Attributes:
        log_prior: ``log p(k|y)`` of each enumerated value, ``(batch, samples)``.
    """

    log_prior: Tensor

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """``-beta log sum_k p(k|y) exp(-cost(k) / beta)``.

        This is the bound at its best posterior, ``q(k) ~ p(k|y) exp(-cost(k) / beta)``.
        """
        temperature = max(beta, 1e-8)
        energy = self.log_prior - cost / temperature
        total = -temperature * torch.logsumexp(energy, dim=1)
        log_q = energy.log_softmax(1).detach()
        weights = log_q.exp()
        return Bound(total, (weights * (log_q - self.log_prior.detach())).sum(1), weights)


class SampledLatent(NamedTuple):
    """A latent whose prior gives no closed form of the KL.

    Attributes:
        log_ratio: ``log q(z|x,y) - log p(z|y)`` of each sample, ``(batch, samples)``; its mean estimates the KL.
    """

    log_ratio: Tensor

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """Mean over the samples of ``cost + beta * log_ratio``."""
        kl = self.log_ratio.mean(1)
        weights = torch.full_like(cost, 1 / cost.shape[1]).detach()
        return Bound(cost.mean(1) + beta * kl, kl, weights)


class Prior(nn.Module, ABC):
    """The distribution ``p(z|y)`` of the latent of a Gaussian posterior."""

    #: how many uniform numbers :meth:`icdf` needs for one draw
    noise_dim: int

    @abstractmethod
    def latent(self, posterior: Gaussian, z: Tensor, y: Tensor) -> Latent:
        """Posterior and prior of samples ``z`` ``(batch, samples, latent_dim)``, given features of y ``(batch,
        features)``."""

    @abstractmethod
    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """``log p(z|y)``, ``(batch, samples)``; arguments as for :meth:`latent`."""

    @abstractmethod
    def icdf(self, u: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        """Uniform points ``(batch, draws, noise_dim)`` to draws from ``p(z|y)`` ``(batch, draws, latent_dim)``.

        ``temperature`` multiplies the standard deviations.
        """


class StandardNormal(Prior):
    """The prior ``p(z|y) = N(0, I)``, the same for every condition."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.noise_dim = latent_dim

    def forward(self, y: Tensor) -> Gaussian:
        """``y`` ``(batch, features)`` to ``p(z|y)``."""
        zeros = y.new_zeros(y.shape[0], self.latent_dim)
        return Gaussian(zeros, zeros)

    def latent(self, posterior: Gaussian, z: Tensor, y: Tensor) -> Latent:
        """Posterior and prior of samples ``(batch, samples, latent_dim)``."""
        return GaussianLatent(posterior, self(y))

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """``log p(z|y)``, ``(batch, samples)``."""
        return self(y).log_prob(z)

    def icdf(self, u: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        """Uniform points ``(batch, draws, noise_dim)`` to draws ``(batch, draws, latent_dim)``."""
        return temperature * normal_icdf(u)


class LearnedMixture(Prior):
    """A mixture of diagonal Gaussians with learned weights, means and scales, the same for every condition.

    A decoder is continuous, so draws from a single Gaussian fill the gaps between separate modes of x with bridges.
    Here the gaps can be in the latent (Jiang et al. 2017, "Variational deep embedding"; Tomczak & Welling 2018).

    Args:
        latent_dim: size of ``z``.
        components: how many Gaussians; more than are needed do no harm.

    Raises:
        UserError: for fewer than one component.
    """

    def __init__(self, latent_dim: int, components: int) -> None:
        super().__init__()
        if components < 1:
            raise UserError(f"model.components is {components}; it must be at least 1.")
        self.latent_dim = latent_dim
        self.noise_dim = latent_dim + 1
        self.logits = nn.Parameter(torch.zeros(components))
        # apart from the start, since components that begin alike stay alike
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        self.log_vars = nn.Parameter(torch.full((components, latent_dim), -2.0))

    def latent(self, posterior: Gaussian, z: Tensor, y: Tensor) -> Latent:
        """Posterior and prior of samples ``(batch, samples, latent_dim)``."""
        return SampledLatent(posterior.log_prob(z) - self.log_prob(z, y))

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """``log p(z|y)``, ``(batch, samples)``."""
        every = z.flatten(0, 1).expand(len(self.means), -1, -1)
        each = self._components().log_prob(every) + self.logits.log_softmax(0).unsqueeze(1)
        return each.logsumexp(0).view(z.shape[:2])

    def icdf(self, u: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        """Uniform points ``(batch, draws, noise_dim)`` to draws ``(batch, draws, latent_dim)``."""
        cumulative = self.logits.softmax(0).cumsum(0)
        k = torch.searchsorted(cumulative, u[..., 0].contiguous()).clamp_max(len(cumulative) - 1)
        mean, log_var = self._components()
        return mean[k] + temperature * (0.5 * log_var[k]).exp() * normal_icdf(u[..., 1:])

    def _components(self) -> Gaussian:
        return Gaussian(self.means, self.log_vars.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT))


class ConditionedNormal(Prior):
    """The prior ``p(z|y)`` of Sohn et al. 2015: a diagonal Gaussian whose mean and log-variance are linear in the
    features of y. It starts as ``N(0, I)``.

    Args:
        features: number of features of y.
        latent_dim: size of ``z``.
    """

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim
        self.out = nn.Linear(features, 2 * latent_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, y: Tensor) -> Gaussian:
        """``y`` ``(batch, features)`` to ``p(z|y)``."""
        return gaussian(self.out(y))

    def latent(self, posterior: Gaussian, z: Tensor, y: Tensor) -> Latent:
        """A Gaussian latent, whose KL has a closed form."""
        return GaussianLatent(posterior, self(y))

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """``log p(z|y)``, ``(batch, samples)``."""
        return self(y).log_prob(z)

    def icdf(self, u: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        """Uniform points ``(batch, draws, latent_dim)`` to draws of the same shape."""
        mean, log_var = self(y)
        return mean.unsqueeze(1) + temperature * (0.5 * log_var).exp().unsqueeze(1) * normal_icdf(u)
