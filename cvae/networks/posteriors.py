"""Posteriors of a latent: location-scale families, whose standard forms are priors (:mod:`cvae.networks.priors`)."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, distributions
from torch.nn.functional import logsigmoid, softplus

# log-variances beyond this say nothing and overflow exp
LOG_VAR_LIMIT = 12.0
#: half the side of the box whose uniform distribution has variance 1 along each axis
HALF_SIDE = math.sqrt(3)
#: share by which rounding may put a sample outside of its interval
ROUNDED = 1e-2
#: nodes of the quantile function of Student's t, and arsinh of the last one
NODES, LAST = 20_001, 20.0


class Posterior(Protocol):
    """``q(z|x,y)`` of a batch, independent in each latent dimension."""

    @property
    def mean(self) -> Tensor:
        """``(batch, latent_dim)``."""

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Reparametrised samples ``(batch, samples, latent_dim)`` (Kingma & Welling 2014)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density ``(batch, samples)`` of ``z`` ``(batch, samples, latent_dim)``."""


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


class Uniform(NamedTuple):
    """Uniform in ``mean`` +- ``exp(log_width)``, both ``(batch, latent_dim)``."""

    mean: Tensor
    log_width: Tensor

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Reparametrised samples ``(batch, samples, latent_dim)``."""
        shape = (self.mean.shape[0], samples, self.mean.shape[1])
        noise = torch.rand(shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean.unsqueeze(1) + self.log_width.exp().unsqueeze(1) * (2 * noise - 1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density ``(batch, samples)`` of ``z`` ``(batch, samples, latent_dim)``; minus infinity outside."""
        mean, log_width = self.mean.unsqueeze(1), self.log_width.unsqueeze(1)
        inside = (z - mean).abs() <= (1 + ROUNDED) * log_width.exp()
        return torch.where(inside, -math.log(2) - log_width, -math.inf).sum(-1)


def uniform(parameters: Tensor) -> Uniform:
    """``(batch, 2 latent_dim)`` to a uniform distribution within the box ``[-sqrt(3), sqrt(3)]``.

    As shares of half the side, the centre is ``tanh(a)`` and the half-width ``(1 - |tanh(a)|) sigmoid(b)``. So no
    posterior leaves the support of the prior, where the KL would be infinite, and one that fills it can still move.
    """
    centre, width = parameters.float().chunk(2, dim=-1)
    centre = centre.clamp(-LOG_VAR_LIMIT / 4, LOG_VAR_LIMIT / 4)
    # 1 - tanh|a| = 2 / (exp(2|a|) + 1)
    room = math.log(2) - softplus(2 * centre.abs())
    share = logsigmoid(width.clamp_min(-LOG_VAR_LIMIT / 2))
    return Uniform(HALF_SIDE * centre.tanh(), room + share + math.log(HALF_SIDE))


class StudentT(NamedTuple):
    """Student's t distribution with ``degrees`` of freedom: ``mean``, and ``log_scale`` of shape ``(batch,
    latent_dim)``."""

    mean: Tensor
    log_scale: Tensor
    degrees: float

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Reparametrised samples ``(batch, samples, latent_dim)``."""
        # t = normal / sqrt(chi-squared / degrees), by the polar method of Bailey 1994, equation 3
        shape = (2, self.mean.shape[0], samples, self.mean.shape[1])
        u, v = torch.rand(shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        radius = (self.degrees * ((1 - u).pow(-2 / self.degrees) - 1)).sqrt()
        noise = radius * (2 * math.pi * v).cos()
        return self.mean.unsqueeze(1) + self.log_scale.exp().unsqueeze(1) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density ``(batch, samples)`` of ``z`` ``(batch, samples, latent_dim)``."""
        law = distributions.StudentT(self.degrees, self.mean.unsqueeze(1), self.log_scale.unsqueeze(1).exp())
        return law.log_prob(z).sum(-1)


def student_t(parameters: Tensor, degrees: float) -> StudentT:
    """Split ``(batch, 2 latent_dim)`` into location and bounded logarithm of the scale."""
    mean, log_scale = parameters.float().chunk(2, dim=-1)
    return StudentT(mean, log_scale.clamp(-LOG_VAR_LIMIT / 2, LOG_VAR_LIMIT / 2), degrees)


def mutual_information(posterior: Posterior, z: Tensor, k: Tensor | None = None) -> Tensor:
    """Mutual information of latent and data in nats, with the mixture of the batch's posteriors as the marginal of z.

    Hoffman & Johnson 2016, "ELBO surgery", with the estimate of He et al. 2019, "Lagging inference networks".

    Args:
        posterior: of each sample, ``(batch, latent_dim)``.
        z: one draw from each posterior, ``(batch, latent_dim)``.
        k: a discrete part of the latent, ``(batch,)``, of which each sample has one value with certainty.
    """
    every = posterior.log_prob(z.unsqueeze(0).expand(len(z), -1, -1))  # (posterior, draw)
    if k is not None:
        every = every.masked_fill(k.unsqueeze(1) != k, -math.inf)
    own = every.diagonal()
    return (own - every.logsumexp(0) + math.log(len(z))).mean()


def normal_icdf(u: Tensor) -> Tensor:
    """Uniform numbers in (0, 1) to standard normal ones, by the inverse distribution function."""
    return torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))


def student_nodes(degrees: float) -> tuple[Tensor, Tensor]:
    """Nodes of the quantile function of Student's t above its median.

    Returns:
        Standard normal quantiles, and those of Student's t at the same probabilities; both rise from 0.
    """
    # equal steps of arsinh(t): the tails decay exponentially in it, so the trapezoidal rule sums them precisely
    places = torch.linspace(0, LAST, NODES, dtype=torch.float64)
    t = places.sinh()
    density = distributions.StudentT(torch.tensor(degrees, dtype=torch.float64)).log_prob(t).exp() * places.cosh()
    pieces = 0.5 * (density[1:] + density[:-1]) * (LAST / (NODES - 1))
    beyond = pieces.flip(0).cumsum(0).flip(0)
    kept = beyond > 1e-9
    return -torch.special.ndtri(beyond[kept] / beyond[0] / 2).clamp_max(0), t[:-1][kept]
