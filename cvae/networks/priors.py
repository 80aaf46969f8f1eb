"""Priors of a latent."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.latent import GaussianLatent, Latent, SampledLatent
from cvae.networks.posteriors import (
    HALF_SIDE,
    LOG_VAR_LIMIT,
    Gaussian,
    Posterior,
    StudentT,
    Uniform,
    gaussian,
    normal_icdf,
    student_nodes,
    student_t,
    uniform,
)
from cvae.recording import recorded

P = TypeVar("P", bound=Posterior)


class Prior(nn.Module, ABC, Generic[P]):
    """The distribution ``p(z|y)`` of the latent, and the family of its posteriors."""

    #: how many uniform numbers :meth:`icdf` needs for one draw
    noise_dim: int

    @abstractmethod
    def posterior(self, parameters: Tensor) -> P:
        """The posterior that an encoder's outputs ``(batch, 2 latent_dim)`` stand for."""

    def latent(self, posterior: P, z: Tensor, y: Tensor) -> Latent:
        """Posterior and prior of samples ``z`` ``(batch, samples, latent_dim)``, given features of y ``(batch,
        features)``."""
        return SampledLatent(posterior.log_prob(z) - self.log_prob(z, y))

    @abstractmethod
    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """``log p(z|y)``, ``(batch, samples)``; arguments as for :meth:`latent`."""

    @abstractmethod
    def icdf(self, u: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        """Uniform points ``(batch, draws, noise_dim)`` to draws from ``p(z|y)`` ``(batch, draws, latent_dim)``.

        ``temperature`` multiplies the standard deviations; of a bounded prior, those of the normal quantiles that its
        draws are made from.
        """


class GaussianPosterior(Prior[Gaussian]):
    """A prior of Gaussian posteriors."""

    def posterior(self, parameters: Tensor) -> Gaussian:
        """See :func:`cvae.networks.posteriors.gaussian`."""
        return gaussian(parameters)


@recorded
class StandardNormal(GaussianPosterior):
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
        """A Gaussian latent, whose KL has a closed form."""
        return GaussianLatent(posterior, self(y))

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """``log p(z|y)``, ``(batch, samples)``."""
        return self(y).log_prob(z)

    def icdf(self, u: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        """Uniform points ``(batch, draws, noise_dim)`` to draws ``(batch, draws, latent_dim)``."""
        return temperature * normal_icdf(u)


@recorded
class StandardUniform(Prior[Uniform]):
    """The uniform prior of mean 0 and variance 1, on the box ``[-sqrt(3), sqrt(3)]`` along each axis.

    Its posteriors are uniform as well and lie within the box, so that ``KL = -sum log(width / side)``. The decoder
    sees nothing outside of the box, so draws of any temperature stay in it: one above 1 puts more of them near its
    walls, one below 1 more near its centre. The estimate of the likelihood leaves out what lies outside of a
    posterior, so it stays a lower bound however many samples it has.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim

    def posterior(self, parameters: Tensor) -> Uniform:
        """See :func:`cvae.networks.posteriors.uniform`."""
        return uniform(parameters)

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """``log p(z|y)``, ``(batch, samples)``."""
        zeros = torch.zeros_like(z[:, 0])
        return Uniform(zeros, zeros + math.log(HALF_SIDE)).log_prob(z)

    def icdf(self, u: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        """Uniform points ``(batch, draws, latent_dim)`` to draws of the same shape."""
        return HALF_SIDE * (2 * torch.special.ndtr(temperature * normal_icdf(u)) - 1)


@recorded
class StandardStudentT(Prior[StudentT]):
    """Student's t distribution in its standard form, with heavier tails than the normal one.

    Args:
        latent_dim: size of ``z``.
        degrees: degrees of freedom; more are nearer to the normal distribution.

    Raises:
        UserError: for 2 degrees and fewer, with which there is no variance.
    """

    scores: Tensor
    quantiles: Tensor

    def __init__(self, latent_dim: int, degrees: float = 5.0) -> None:
        super().__init__()
        if not 2 < degrees < math.inf:
            raise UserError(f"model.latent.noise.degrees is {degrees}; it must be above 2, and finite.")
        self.noise_dim, self.degrees = latent_dim, degrees
        for name, nodes in zip(("scores", "quantiles"), student_nodes(degrees), strict=True):
            self.register_buffer(name, nodes.float(), persistent=False)

    def posterior(self, parameters: Tensor) -> StudentT:
        """See :func:`cvae.networks.posteriors.student_t`."""
        return student_t(parameters, self.degrees)

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """``log p(z|y)``, ``(batch, samples)``."""
        zeros = torch.zeros_like(z[:, 0])
        return StudentT(zeros, zeros, self.degrees).log_prob(z)

    def icdf(self, u: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
        """Uniform points ``(batch, draws, latent_dim)`` to draws of the same shape."""
        score = normal_icdf(u)
        above = torch.searchsorted(self.scores, score.abs()).clamp(1, len(self.scores) - 1)
        low, high = self.scores[above - 1], self.scores[above]
        share = (score.abs() - low) / (high - low)
        return temperature * score.sign() * torch.lerp(self.quantiles[above - 1], self.quantiles[above], share)


class LearnedMixture(GaussianPosterior):
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
        self.means = nn.Parameter(torch.empty(components, latent_dim))
        nn.init.normal_(self.means)
        self.log_vars = nn.Parameter(torch.full((components, latent_dim), -2.0))

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


class ConditionedNormal(GaussianPosterior):
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
