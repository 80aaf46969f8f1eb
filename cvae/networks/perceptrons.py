"""The models ``dense`` and ``deep``: Gaussian CVAEs made of perceptrons."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cvae.networks.base import Decoder, Encoder, GaussianCVAE
from cvae.networks.heads import Head
from cvae.networks.latent import StandardNormal
from cvae.networks.trunks import ConditionScaler, Dense, Residual, Trunk


def dense(
    lines: int,
    points: int,
    conditions: int,
    latent_dim: int,
    hidden: Sequence[int],
    encoder_sees_y: bool,
    head: Head,
) -> GaussianCVAE:
    """Plain perceptrons with SiLU.

    Args:
        lines, points, conditions: shapes of solutions ``(lines, points)`` and conditions ``(conditions, points)``.
        latent_dim: size of the latent.
        hidden: layer sizes, the same for encoder and decoder.
        encoder_sees_y: q(z|x,y) if true, q(z|x) if false.
        head: output head, :class:`~cvae.networks.PointsHead` or :class:`~cvae.networks.EndpointsHead`.
    """
    return _assemble(lambda inputs: Dense(inputs, hidden), lines, points, conditions, latent_dim, encoder_sees_y, head)


def deep(
    lines: int,
    points: int,
    conditions: int,
    latent_dim: int,
    width: int,
    blocks: int,
    encoder_sees_y: bool,
    head: Head,
) -> GaussianCVAE:
    """Residual perceptrons with LayerNorm and SiLU: ``blocks`` blocks of ``width``; the rest as in :func:`dense`."""
    return _assemble(
        lambda inputs: Residual(inputs, width, blocks),
        lines, points, conditions, latent_dim, encoder_sees_y, head,
    )  # fmt: skip


def _assemble(
    trunk: Callable[[int], Trunk],
    lines: int,
    points: int,
    conditions: int,
    latent_dim: int,
    encoder_sees_y: bool,
    head: Head,
) -> GaussianCVAE:
    if latent_dim < 1:
        raise ValueError(f"model.latent_dim is {latent_dim}; it must be at least 1.")
    features = conditions * points
    encoder = Encoder(trunk(lines * points + features * encoder_sees_y), latent_dim, encoder_sees_y)
    decoder = Decoder(trunk(latent_dim + features), head)
    return GaussianCVAE(encoder, decoder, StandardNormal(latent_dim), latent_dim, ConditionScaler(conditions))
