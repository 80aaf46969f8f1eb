"""The model ``points``: a CVAE as a probability density, with a learned mixture as prior and a learned noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.base import Decoder, Encoder, GaussianCVAE, Reconstruction
from cvae.networks.heads import Head
from cvae.networks.latent import Gaussian, LearnedMixture, Prior, StandardNormal, normal_icdf
from cvae.networks.scalers import ConditionScaler, StandardScaler
from cvae.networks.trunks import Dense

#: least noise, as the logarithm of a share of the spread of the data
LEAST_NOISE = -6.0


class NoisyCVAE(GaussianCVAE):
    """A CVAE with ``p(x|z,y) = N(decoder(z, y), noise^2)``, whose noise is learned, one scale for each coordinate of x.

    Draws contain the noise, so they follow the density ``p(x|y)`` that the network assigns; without it they would be
    narrower. The decoder works in units of the spread of the training data.

    Args:
        encoder, decoder, prior, latent_dim: see :class:`GaussianCVAE`.
        x_scaler, y_scaler: units of solutions and conditions.
    """

    x_scaler: StandardScaler

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior,
        latent_dim: int,
        x_scaler: StandardScaler,
        y_scaler: ConditionScaler,
    ) -> None:
        super().__init__(encoder, decoder, prior, latent_dim, x_scaler, y_scaler)
        self.noise_dim = prior.noise_dim + x_scaler.scale.numel()
        self.log_scale = nn.Parameter(torch.full(x_scaler.scale.shape, -1.0))

    @property
    def log_noise(self) -> Tensor:
        """Logarithm of the standard deviation of the noise in the units of x, ``(*x_shape,)``."""
        return self.log_scale.clamp_min(LEAST_NOISE) + self.x_scaler.scale.log()

    def draw(self, y: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` with the noise of the likelihood."""
        x = self.x_scaler.inverse(super().draw(y, u[..., : self.prior.noise_dim], temperature))
        return x + self.log_noise.exp() * normal_icdf(u[..., self.prior.noise_dim :]).view(x.shape)

    def _reconstruction(self, posterior: Gaussian, z: Tensor, features: Tensor) -> Reconstruction:
        found = super()._reconstruction(posterior, z, features)
        return found._replace(x=self.x_scaler.inverse(found.x), log_noise=self.log_noise)


def points(
    x_shape: Sequence[int], y_shape: Sequence[int], latent_dim: int, hidden: Sequence[int], components: int, head: Head
) -> NoisyCVAE:
    """Plain perceptrons with ReLU, for points of a few coordinates.

    Args:
        x_shape, y_shape: shapes of a solution and of a condition; ``(0,)`` where nothing is given.
        latent_dim: size of the latent.
        hidden: layer sizes, the same for encoder and decoder.
        components: Gaussians of the prior; with 1 it is the standard normal distribution.
        head: output head.

    Raises:
        UserError: for sizes that make no sense.
    """
    if latent_dim < 1:
        raise UserError(f"model.latent_dim is {latent_dim}; it must be at least 1.")
    features = math.prod(y_shape)
    encoder = Encoder(Dense(math.prod(x_shape) + features, hidden, nn.ReLU), latent_dim, sees_y=True)
    decoder = Decoder(Dense(latent_dim + features, hidden, nn.ReLU), head)
    prior = StandardNormal(latent_dim) if components == 1 else LearnedMixture(latent_dim, components)
    scalers = StandardScaler(tuple(x_shape)), ConditionScaler(tuple(y_shape))
    return NoisyCVAE(encoder, decoder, prior, latent_dim, *scalers)
