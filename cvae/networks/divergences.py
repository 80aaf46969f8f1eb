"""How posterior and prior of a latent are compared: by the KL of each sample, or by a distance over the batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.metrics.distances import random_directions, sliced_wasserstein, squared_mmd
from cvae.networks.latent import Bound, Latent
from cvae.networks.posteriors import Posterior
from cvae.networks.priors import Prior, StandardNormal
from cvae.recording import recorded

#: of the kernels of the maximum mean discrepancy, in their unit: wider ones hardly see the shape of a distribution
WIDTHS = (0.25, 0.5, 1.0)


class Divergence(Protocol):
    """Posterior and prior to the latent that owns the bound."""

    def latent(self, prior: Prior[Any], posterior: Posterior, z: Tensor, y: Tensor) -> Latent:
        """Arguments as for :meth:`cvae.networks.Prior.latent`."""


@recorded
class KL:
    """The Kullback-Leibler divergence of the posterior of each sample, as of the evidence lower bound."""

    # its own, since that of object takes any argument for whoever asks for its signature
    def __init__(self) -> None: ...

    def latent(self, prior: Prior[Any], posterior: Posterior, z: Tensor, y: Tensor) -> Latent:
        """The latent of the prior itself."""
        return prior.latent(posterior, z, y)


class BatchDivergence(ABC):
    """A distance ``D`` between the posteriors of a batch together and the prior, in place of the KL of each sample.

    InfoVAE (Zhao et al. 2019, equation 6) divides the two: the total of a sample is
    ``cost + beta (kl KL(q(z|x,y) || p(z|y)) + weight D)``, where ``kl`` is ``1 - alpha`` there, and ``weight`` is
    ``alpha + lambda - 1``. ``D`` compares pairs ``(z, y)`` with ``z`` from the posterior and from the prior, at the
    same ``y``. Over all ``y`` together, ``z`` alone may look as the prior does while it says what ``y`` is; then draws
    for one ``y`` are wrong.

    What a weight means depends on the number of features of y. Pairs have a squared norm of about ``2 latent_dim``
    whatever that number is, but random directions see a share ``latent_dim / (latent_dim + features)`` of a squared
    shift of z, and the kernels of :class:`MMD` grow with ``sqrt(latent_dim + features)``. A weight that suits one task
    is weaker or stronger in another.

    Args:
        weight: of the distance; those of ``conf/model/latent`` are for the 50 features of ``data=product``.
        kl: weight of the KL.

    Raises:
        UserError: for a negative weight.
    """

    def __init__(self, weight: float, kl: float = 0.0) -> None:
        if weight < 0 or kl < 0:
            raise UserError(f"model.latent.divergence has weight={weight} and kl={kl}; both must be at least 0.")
        self.weight, self.kl = weight, kl

    @abstractmethod
    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Distance of samples ``(count, dimensions)`` of two distributions, a number."""

    def latent(self, prior: Prior[Any], posterior: Posterior, z: Tensor, y: Tensor) -> Latent:
        """A latent whose bound compares the batch."""
        return ComparedLatent(prior.latent(posterior, z, y), self, prior, z, y)


class ComparedLatent(NamedTuple):
    """A latent of which the samples of the batch are compared with as many of the prior.

    Attributes:
        latent: owns the KL.
        divergence: the distance and the weights.
        prior: of the latent.
        z: samples of the posterior, ``(batch, samples, latent_dim)``.
        y: features of y, ``(batch, features)``.
    """

    latent: Latent
    divergence: BatchDivergence
    prior: Prior[Any]
    z: Tensor
    y: Tensor

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """The bound with the KL's own weight, and the distance for each sample."""
        bound = self.latent.bound(cost, beta * self.divergence.kl)
        u = torch.rand(*self.z.shape[:2], self.prior.noise_dim, device=self.z.device)
        prior = self.prior.icdf(u, self.y)
        distance = self.divergence.distance(self._pairs(self.z), self._pairs(prior))
        return bound._replace(total=bound.total + beta * self.divergence.weight * distance)

    def _pairs(self, z: Tensor) -> Tensor:
        """Pairs of z and y, ``(batch * samples, latent_dim + features)``, in which both vary alike."""
        scale = math.sqrt(z.shape[2] / max(self.y.shape[1], 1))
        y = scale * self.y.unsqueeze(1).expand(-1, z.shape[1], -1)
        return torch.cat([z, y], dim=-1).flatten(0, 1)


@recorded
class MMD(BatchDivergence):
    """The squared maximum mean discrepancy with Gaussian kernels (Zhao et al. 2019), see
    :func:`cvae.metrics.distances.squared_mmd`."""

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """The kernels' unit is the root of the number of dimensions: without y, the usual distance of a standard normal
        point from the origin; with many features of y, more than that of the pairs."""
        return squared_mmd(first, second, math.sqrt(first.shape[1]), WIDTHS)


@recorded
class SlicedWasserstein(BatchDivergence):
    """The squared sliced Wasserstein distance of order 2 (Kolouri et al. 2018): the mean over random directions of the
    squared distance of the projected pairs.

    Args:
        weight, kl: see :class:`BatchDivergence`.
        directions: random directions of each batch.

    Raises:
        UserError: for a negative weight, or without a direction.
    """

    def __init__(self, weight: float, kl: float = 0.0, directions: int = 64) -> None:
        super().__init__(weight, kl)
        if directions < 1:
            raise UserError(f"model.latent.divergence.directions is {directions}; it must be at least 1.")
        self.directions = directions

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Along directions that are new for each batch."""
        directions = random_directions(self.directions, first.shape[1], device=first.device)
        return sliced_wasserstein(first, second, directions, order=2).square()


@recorded
@dataclass(frozen=True)
class LatentOptions:
    """What a latent is made of.

    Args:
        noise: from ``latent_dim`` to the prior, which also gives the family of the posteriors.
        divergence: how posterior and prior are compared.
    """

    noise: Callable[[int], Prior[Any]] = StandardNormal
    divergence: Divergence = field(default_factory=KL)
