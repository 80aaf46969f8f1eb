"""The models ``dense``, ``deep`` and ``film``: Gaussian CVAEs made of perceptrons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypedDict, Unpack

from torch import nn

from cvae.errors import UserError
from cvae.networks.base import Decoder, Encoder, GaussianCVAE
from cvae.networks.divergences import LatentOptions
from cvae.networks.heads import Head, ProbabilitiesHead
from cvae.networks.modulated import ModulatedDecoder
from cvae.networks.priors import ConditionedNormal, StandardNormal
from cvae.networks.scalers import ConditionScaler, RangeScaler
from cvae.networks.trunks import Dense, Residual, Trunk
from cvae.recording import recorded


class LatentSettings(TypedDict, total=False):
    """Options of the latent that a model may leave out."""

    learned_prior: bool
    latent: LatentOptions | None


@recorded
def dense(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    hidden: Sequence[int],
    encoder_sees_y: bool,
    head: Head,
    repeat_y: int = 1,
    **latent: Unpack[LatentSettings],
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
        latent: ``learned_prior``, whether p(z|y) is a normal distribution that depends on y (default: no, it is that of
            the noise), and ``latent``, noise and divergence (default: Gaussian and KL).

    Raises:
        UserError: for sizes that make no sense, or a learned prior with another noise than the Gaussian one.
    """

    def trunk(inputs: int) -> Trunk:
        return Dense(inputs, hidden)

    shapes = tuple(x_shape), tuple(y_shape)
    parts = shapes, latent_dim, encoder_sees_y, repeat_y
    return _assemble(trunk, lambda features: Decoder(trunk(latent_dim + features), head), *parts, **latent)


@recorded
def deep(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    width: int,
    blocks: int,
    encoder_sees_y: bool,
    head: Head,
    **latent: Unpack[LatentSettings],
) -> GaussianCVAE:
    """Residual perceptrons with LayerNorm and SiLU: ``blocks`` blocks of ``width``; the rest as in :func:`dense`."""

    def trunk(inputs: int) -> Trunk:
        return Residual(inputs, width, blocks)

    shapes = tuple(x_shape), tuple(y_shape)
    parts = shapes, latent_dim, encoder_sees_y
    return _assemble(trunk, lambda features: Decoder(trunk(latent_dim + features), head), *parts, **latent)


@recorded
def film(
    x_shape: Sequence[int],
    y_shape: Sequence[int],
    latent_dim: int,
    hidden: Sequence[int],
    width: int,
    head: Head,
    layers: int = 3,
    frequencies: int = 4,
    **latent: Unpack[LatentSettings],
) -> GaussianCVAE:
    """A perceptron as encoder, and :class:`ModulatedDecoder`.

    Args:
        x_shape, y_shape: shapes of a solution and of a condition.
        latent_dim: size of the latent.
        hidden: layer sizes of the encoder and of the decoder's trunk.
        width, layers, frequencies: see :class:`ModulatedDecoder`.
        head: output head.
        latent: as in :func:`cvae.networks.dense`.

    Raises:
        UserError: for sizes that make no sense.
    """

    def decoder(features: int) -> ModulatedDecoder:
        return ModulatedDecoder(Dense(features, hidden), head, latent_dim, width, layers, frequencies)

    shapes = tuple(x_shape), tuple(y_shape)
    return _assemble(lambda inputs: Dense(inputs, hidden), decoder, shapes, latent_dim, **latent)


def _assemble(
    trunk: Callable[[int], Trunk],
    decoder: Callable[[int], Decoder | ModulatedDecoder],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    latent_dim: int,
    encoder_sees_y: bool = True,
    repeat_y: int = 1,
    learned_prior: bool = False,
    latent: LatentOptions | None = None,
) -> GaussianCVAE:
    """A Gaussian CVAE of an encoder's trunk, from a number of inputs, and a decoder, from a number of features of y;
    the other arguments as in :func:`dense`."""
    if latent_dim < 1:
        raise UserError(f"model.latent_dim is {latent_dim}; it must be at least 1.")
    if repeat_y < 1:
        raise UserError(f"model.repeat_y is {repeat_y}; it must be at least 1.")
    options = latent or LatentOptions()
    prior = options.noise(latent_dim)
    if learned_prior and not isinstance(prior, StandardNormal):
        raise UserError("model.learned_prior is true, a normal distribution; it must be false with another noise.")
    x_shape, y_shape = shapes
    features = math.prod(y_shape) * repeat_y
    encoder = Encoder(
        trunk(math.prod(x_shape) + features * encoder_sees_y), latent_dim, encoder_sees_y, prior.posterior
    )
    decoded = decoder(features)
    # probabilities have no unit; a pixel that is nearly black in all training data must not be blown up
    x_scaler = nn.Identity() if isinstance(decoded.head, ProbabilitiesHead) else RangeScaler(x_shape)
    prior = ConditionedNormal(features, latent_dim) if learned_prior else prior
    scalers = x_scaler, ConditionScaler(y_shape, repeat_y)
    return GaussianCVAE(encoder, decoded, prior, latent_dim, *scalers, options.divergence)
