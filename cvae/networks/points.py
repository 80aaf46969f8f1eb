"""The model ``points``: a CVAE as a probability density, with a learned mixture as prior and a learned noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.base import Decoder, Encoder, GaussianCVAE, Reconstruction
from cvae.networks.divergences import BatchDivergence, Divergence, LatentOptions
from cvae.networks.heads import Head
from cvae.networks.posteriors import Posterior, normal_icdf
from cvae.networks.priors import LearnedMixture, Prior, StandardNormal
from cvae.networks.scalers import ConditionScaler, StandardScaler
from cvae.networks.trunks import Dense
from cvae.recording import recorded

#: least noise, as the logarithm of a share of the spread of the data
LEAST_NOISE = -6.0


class NoisyCVAE(GaussianCVAE):
    """A CVAE with ``p(x|z,y) = N(decoder(z, y), noise^2)``, whose noise is learned, one scale for each coordinate of x.

    Draws contain the noise, so they follow the density ``p(x|y)`` that the network assigns; without it they would be
    narrower. The decoder works in units of the spread of the training data.

    Args:
        encoder, decoder, prior, latent_dim, divergence: see :class:`GaussianCVAE`.
        x_scaler, y_scaler: units of solutions and conditions.
        noise_features: number of features of y in which the logarithm of the noise is linear; with 0 it is the same for
            every y.
    """

    x_scaler: StandardScaler

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior[Any],
        latent_dim: int,
        x_scaler: StandardScaler,
        y_scaler: ConditionScaler,
        divergence: Divergence | None = None,
        noise_features: int = 0,
    ) -> None:
        super().__init__(encoder, decoder, prior, latent_dim, x_scaler, y_scaler, divergence)
        self.noise_dim = prior.noise_dim + x_scaler.scale.numel()
        self.log_scale = nn.Parameter(torch.full(x_scaler.scale.shape, -1.0))
        self.slopes = None
        if noise_features > 0:
            self.slopes = nn.Parameter(torch.zeros(noise_features, x_scaler.scale.numel()))

    def log_noise(self, features: Tensor) -> Tensor:
        """Logarithm of the standard deviation of the noise in the units of x, for features of y ``(batch, features)``:
        ``(batch, 1, *x_shape)``, or ``(*x_shape,)`` where it is the same for all."""
        log_scale: Tensor = self.log_scale
        if self.slopes is not None:
            log_scale = log_scale + (features @ self.slopes).view(-1, 1, *log_scale.shape)
        return log_scale.clamp_min(LEAST_NOISE) + self.x_scaler.scale.log()

    def draw(self, y: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` with the noise of the likelihood."""
        x = self.x_scaler.inverse(super().draw(y, u[..., : self.prior.noise_dim], temperature))
        return x + self.log_noise(self.y_scaler(y)).exp() * normal_icdf(u[..., self.prior.noise_dim :]).view(x.shape)

    def _reconstruction(self, posterior: Posterior, z: Tensor, features: Tensor) -> Reconstruction:
        found = super()._reconstruction(posterior, z, features)
        return found._replace(x=self.x_scaler.inverse(found.x), log_noise=self.log_noise(features))


@recorded
def points(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    hidden: Sequence[int],
    components: int,
    head: Head,
    latent: LatentOptions | None = None,
    noise_sees_y: bool = False,
) -> NoisyCVAE:
    """Plain perceptrons with ReLU, for points of a few coordinates.

    Args:
        x_shape, y_shape: shapes of a solution and of a condition; ``(0,)`` where nothing is given.
        latent_dim: size of the latent.
        hidden: layer sizes, the same for encoder and decoder.
        components: Gaussians of the prior; with 1 it is that of ``latent.noise``.
        head: output head.
        latent: noise and divergence; None for Gaussian and KL.
        noise_sees_y: whether the noise depends on the condition.

    Raises:
        UserError: for sizes that make no sense, or a mixture of Gaussians with another noise or without a KL, as its
            weights have no other gradient.
    """
    if latent_dim < 1:
        raise UserError(f"model.latent_dim is {latent_dim}; it must be at least 1.")
    options = latent or LatentOptions()
    prior = options.noise(latent_dim)
    if components != 1 and not isinstance(prior, StandardNormal):
        raise UserError(f"model.components is {components}, a prior of Gaussians; with another noise it must be 1.")
    if components > 1 and isinstance(options.divergence, BatchDivergence) and options.divergence.kl == 0:
        raise UserError(
            f"model.components is {components}, whose weights learn from the KL alone, but model.latent.divergence.kl "
            "is 0; set model.components=1, or model.latent.divergence.kl above 0."
        )
    features = math.prod(y_shape)
    encoder = Encoder(Dense(math.prod(x_shape) + features, hidden, nn.ReLU), latent_dim, True, prior.posterior)
    decoder = Decoder(Dense(latent_dim + features, hidden, nn.ReLU), head)
    if components != 1:
        prior = LearnedMixture(latent_dim, components)
    scalers = StandardScaler(tuple(x_shape)), ConditionScaler(tuple(y_shape))
    return NoisyCVAE(encoder, decoder, prior, latent_dim, *scalers, options.divergence, features * noise_sees_y)
