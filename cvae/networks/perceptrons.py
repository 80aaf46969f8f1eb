"""The models ``dense`` and ``deep``: Gaussian CVAEs made of perceptrons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cvae.errors import UserError
from cvae.networks.base import Decoder, Encoder, GaussianCVAE
from cvae.networks.heads import Head
from cvae.networks.latent import StandardNormal
from cvae.networks.scalers import ConditionScaler, RangeScaler
from cvae.networks.trunks import Dense, Residual, Trunk


def dense(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    hidden: Sequence[int],
    encoder_sees_y: bool,
    head: Head,
) -> GaussianCVAE:
    """Plain perceptrons with SiLU.

    Args:
        x_shape, y_shape: shapes of a solution and of a condition.
        latent_dim: size of the latent.
        hidden: layer sizes, the same for encoder and decoder.
        encoder_sees_y: q(z|x,y) if true, q(z|x) if false.
        head: output head, :class:`~cvae.networks.ValuesHead` or :class:`~cvae.networks.ParametersHead`.

    Raises:
        UserError: for sizes that make no sense.
    """
    return _assemble(lambda inputs: Dense(inputs, hidden), x_shape, y_shape, latent_dim, encoder_sees_y, head)


def deep(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    width: int,
    blocks: int,
    encoder_sees_y: bool,
    head: Head,
) -> GaussianCVAE:
    """Residual perceptrons with LayerNorm and SiLU: ``blocks`` blocks of ``width``; the rest as in :func:`dense`."""
    return _assemble(lambda inputs: Residual(inputs, width, blocks), x_shape, y_shape, latent_dim, encoder_sees_y, head)


def _assemble(
    trunk: Callable[[int], Trunk],
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    encoder_sees_y: bool,
    head: Head,
) -> GaussianCVAE:
    if latent_dim < 1:
        raise UserError(f"model.latent_dim is {latent_dim}; it must be at least 1.")
    features = math.prod(y_shape)
    encoder = Encoder(trunk(math.prod(x_shape) + features * encoder_sees_y), latent_dim, encoder_sees_y)
    decoder = Decoder(trunk(latent_dim + features), head)
    scalers = RangeScaler(tuple(x_shape)), ConditionScaler(tuple(y_shape))
    return GaussianCVAE(encoder, decoder, StandardNormal(latent_dim), latent_dim, *scalers)
