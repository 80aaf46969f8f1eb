"""The models ``dense`` and ``deep``: Gaussian CVAEs made of perceptrons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import nn

from cvae.errors import UserError
from cvae.networks.base import Decoder, Encoder, GaussianCVAE
from cvae.networks.heads import Head, ProbabilitiesHead
from cvae.networks.latent import ConditionedNormal, StandardNormal
from cvae.networks.scalers import ConditionScaler, RangeScaler
from cvae.networks.trunks import Dense, Residual, Trunk


def dense(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    hidden: Sequence[int],
    encoder_sees_y: bool,
    head: Head,
    repeat_y: int = 1,
    learned_prior: bool = False,
) -> GaussianCVAE:
    """Plain perceptrons with SiLU.

    Args:
        x_shape, y_shape: shapes of a solution and of a condition.
        latent_dim: size of the latent.
        hidden: layer sizes, the same for encoder and decoder.
        encoder_sees_y: q(z|x,y) if true, q(z|x) if false.
        head: output head, :class:`~cvae.networks.ValuesHead`, :class:`~cvae.networks.ProbabilitiesHead` or
            :class:`~cvae.networks.ParametersHead`.
        repeat_y: how often encoder and decoder are given the condition.
        learned_prior: whether p(z|y) is a normal distribution that depends on y, or N(0, I).

    Raises:
        UserError: for sizes that make no sense.
    """
    shapes = tuple(x_shape), tuple(y_shape)
    parts = shapes, latent_dim, encoder_sees_y, head, repeat_y, learned_prior
    return _assemble(lambda inputs: Dense(inputs, hidden), *parts)


def deep(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    width: int,
    blocks: int,
    encoder_sees_y: bool,
    head: Head,
    learned_prior: bool = False,
) -> GaussianCVAE:
    """Residual perceptrons with LayerNorm and SiLU: ``blocks`` blocks of ``width``; the rest as in :func:`dense`."""
    shapes = tuple(x_shape), tuple(y_shape)
    parts = shapes, latent_dim, encoder_sees_y, head, 1, learned_prior
    return _assemble(lambda inputs: Residual(inputs, width, blocks), *parts)


def _assemble(
    trunk: Callable[[int], Trunk],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    latent_dim: int,
    encoder_sees_y: bool,
    head: Head,
    repeat_y: int,
    learned_prior: bool,
) -> GaussianCVAE:
    if latent_dim < 1:
        raise UserError(f"model.latent_dim is {latent_dim}; it must be at least 1.")
    if repeat_y < 1:
        raise UserError(f"model.repeat_y is {repeat_y}; it must be at least 1.")
    x_shape, y_shape = shapes
    features = math.prod(y_shape) * repeat_y
    encoder = Encoder(trunk(math.prod(x_shape) + features * encoder_sees_y), latent_dim, encoder_sees_y)
    decoder = Decoder(trunk(latent_dim + features), head)
    # probabilities have no unit; a pixel that is nearly black in all training data must not be blown up
    x_scaler = nn.Identity() if isinstance(head, ProbabilitiesHead) else RangeScaler(x_shape)
    prior = ConditionedNormal(features, latent_dim) if learned_prior else StandardNormal(latent_dim)
    return GaussianCVAE(encoder, decoder, prior, latent_dim, x_scaler, ConditionScaler(y_shape, repeat_y))
