"""What a model asks of its network, and the CVAE with a continuous latent assembled from parts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.divergences import KL, Divergence
from cvae.networks.heads import Head
from cvae.networks.latent import Latent
from cvae.networks.posteriors import Posterior, gaussian, mutual_information
from cvae.networks.priors import Prior
from cvae.networks.scalers import Scaler
from cvae.networks.trunks import Trunk


class Reconstruction(NamedTuple):
    """What a network makes of a training batch.

    Attributes:
        x: reconstructions ``(batch, samples, *x_shape)``, one for each sample of the latent: a single one of a
            continuous latent, and one for each k of an enumeration.
        latent: posterior and prior of the samples; owns the bound.
        code: a summary of the posterior, ``(batch, latent_dim)``: its mean, or the most likely k as a one-hot vector.
        log_noise: logarithm of the standard deviation of x around the reconstruction, if the network learns it;
            broadcastable against ``(*x_shape,)``.
    """

    x: Tensor
    latent: Latent
    code: Tensor
    log_noise: Tensor | None = None


class LatentNetwork(nn.Module, ABC):
    """A network with a latent: reconstructs training batches and turns uniform points into solutions."""

    #: size of the latent, as the measures of its health see it
    latent_dim: int
    #: variance of the latent's mean over the data above which one of its dimensions counts as active
    active_variance: float = 0.01
    #: size of the unit cube from which :meth:`draw` starts
    noise_dim: int

    @abstractmethod
    def reconstruct(self, x: Tensor, y: Tensor) -> Reconstruction:
        """Encode ``x`` ``(batch, *x_shape)`` given ``y`` ``(batch, *y_shape)``, sample or enumerate the latent and
        decode."""

    @abstractmethod
    def draw(self, y: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """Decode draws from the prior.

        Args:
            y: conditions ``(batch, *y_shape)``.
            u: points in the unit cube ``(batch, draws, noise_dim)``; uniform ones give draws from ``p(x|y)``.
            temperature: above 1 the latent is spread wider than its prior, below 1 it is drawn in.

        Returns:
            Solutions ``(batch, draws, *x_shape)``.
        """

    def log_choice(self, y: Tensor, u: Tensor) -> Tensor | None:
        """``log p(k|y)`` of the discrete part of the latent that :meth:`draw` makes of the points, ``(batch, draws)``;
        arguments as there. None for a latent without such a part, whose draws follow the weights smoothly."""
        return None

    @abstractmethod
    def information(self, x: Tensor, y: Tensor) -> Tensor:
        """Estimate of the mutual information of latent and data in nats; at most the logarithm of the batch size."""

    def importance(self, x: Tensor, y: Tensor, samples: int) -> tuple[Reconstruction, Tensor]:
        """Reconstructions from ``samples`` samples of the posterior for each ``x`` ``(batch, *x_shape)``, and the
        logarithms of their weights ``(batch, samples)``, with which ``sum_s weight_s p(x|z_s,y)`` estimates ``p(x|y)``.

        Raises:
            UserError: for a network without such an estimate.
        """
        raise UserError(f"{type(self).__name__} gives no estimate of the likelihood.")

    def fit_scale(self, x: Tensor, y: Tensor) -> None:
        """Take units of ``x`` and ``y`` from training data, once, before the first step."""


class GaussianCVAE(LatentNetwork):
    """Encoder q(z|x,y), prior p(z|y) and decoder p(x|z,y) with a continuous latent (Sohn et al. 2015).

    Args:
        encoder: ``(x, y) -> Posterior``, of the prior's family.
        decoder: ``(z, y) -> x``, with ``z`` ``(batch, samples, latent_dim)`` and ``x`` ``(batch, samples, ...)``.
        prior: ``p(z|y)``.
        latent_dim: size of ``z``.
        x_scaler: from solutions ``(batch, *x_shape)`` to what the encoder sees.
        y_scaler: from conditions ``(batch, *y_shape)`` to the features that all three see.
        divergence: how posterior and prior are compared.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior[Any],
        latent_dim: int,
        x_scaler: nn.Module,
        y_scaler: nn.Module,
        divergence: Divergence | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.latent_dim = latent_dim
        self.noise_dim = prior.noise_dim
        self.x_scaler, self.y_scaler = x_scaler, y_scaler
        self.divergence = divergence or KL()

    def fit_scale(self, x: Tensor, y: Tensor) -> None:
        """Fit both scalers."""
        for scaler, values in ((self.x_scaler, x), (self.y_scaler, y)):
            if isinstance(scaler, Scaler):
                scaler.fit(values)

    def reconstruct(self, x: Tensor, y: Tensor) -> Reconstruction:
        """One sample of the posterior, decoded: ``(batch, 1, *x_shape)``."""
        return self._reconstruction(*self._sample(x, y, 1))

    def importance(self, x: Tensor, y: Tensor, samples: int) -> tuple[Reconstruction, Tensor]:
        """Samples of the posterior, decoded ``(batch, samples, *x_shape)``, and their importance weights."""
        posterior, z, features = self._sample(x, y, samples)
        log_weights = self.prior.log_prob(z, features) - posterior.log_prob(z) - math.log(samples)
        return self._reconstruction(posterior, z, features), log_weights

    def information(self, x: Tensor, y: Tensor) -> Tensor:
        """See :func:`cvae.networks.posteriors.mutual_information`."""
        posterior, z, _ = self._sample(x, y, 1)
        return mutual_information(posterior, z[:, 0])

    def draw(self, y: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` from points ``(batch, draws, latent_dim)``."""
        features = self.y_scaler(y)
        return self.decoder(self.prior.icdf(u, features, temperature), features)

    def _sample(self, x: Tensor, y: Tensor, samples: int) -> tuple[Posterior, Tensor, Tensor]:
        """The posterior, samples from it ``(batch, samples, latent_dim)``, and the features of y."""
        features = self.y_scaler(y)
        posterior: Posterior = self.encoder(self.x_scaler(x), features)
        return posterior, posterior.sample(samples), features

    def _reconstruction(self, posterior: Posterior, z: Tensor, features: Tensor) -> Reconstruction:
        x = self.decoder(z, features)
        return Reconstruction(x, self.divergence.latent(self.prior, posterior, z, features), posterior.mean)


class Encoder(nn.Module):
    """q(z|x) or q(z|x,y): flattens what it sees and reads the posterior's parameters off a trunk.

    Args:
        trunk: from features to features; has ``width``.
        latent_dim: size of ``z``.
        sees_y: whether the trunk's inputs are x and y, or x alone.
        posterior: from ``(batch, 2 latent_dim)`` to the posterior.
    """

    def __init__(
        self, trunk: Trunk, latent_dim: int, sees_y: bool, posterior: Callable[[Tensor], Posterior] = gaussian
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.latent_dim, self.sees_y, self.posterior = latent_dim, sees_y, posterior
        self.out = nn.Linear(trunk.width, 2 * latent_dim)

    def forward(self, x: Tensor, y: Tensor) -> Posterior:
        """``x`` ``(batch, ...)`` and features of y ``(batch, features)`` to the posterior."""
        inputs = x.flatten(1)
        if self.sees_y:
            inputs = torch.cat([inputs, y], dim=-1)
        return self.posterior(self.out(self.trunk(inputs)))


class Decoder(nn.Module):
    """p(x|z,y): a trunk over (z, y) and an output head.

    Args:
        trunk: from ``latent_dim + features`` to features; has ``width``.
        head: from ``head.outputs`` numbers to a solution.
    """

    def __init__(self, trunk: Trunk, head: Head) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.out = nn.Linear(trunk.width, head.outputs)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """``z`` ``(batch, samples, latent_dim)`` and ``y`` ``(batch, features)`` to ``(batch, samples, ...)``."""
        y = y.unsqueeze(1).expand(-1, z.shape[1], -1)
        return self.head(self.out(self.trunk(torch.cat([z, y], dim=-1))))
