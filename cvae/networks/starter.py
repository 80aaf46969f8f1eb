"""The challenge's initial network, kept as the baseline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.base import GaussianCVAE
from cvae.networks.posteriors import Gaussian, gaussian
from cvae.networks.priors import StandardNormal
from cvae.recording import recorded

TALL, SHORT = 16, 8
CHANNELS = (32, 64)


class StarterEncoder(nn.Module):
    """q(z|x): two convolutions along the points over ``(1, points, lines)``; does not see y."""

    def __init__(self, lines: int, points: int, latent_dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, CHANNELS[0], (TALL, lines)),
            nn.ReLU(),
            nn.Conv2d(CHANNELS[0], CHANNELS[1], (SHORT, 1)),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.out = nn.Linear(CHANNELS[1] * reduced(points), 2 * latent_dim)

    def forward(self, x: Tensor, y: Tensor) -> Gaussian:
        """``x`` ``(batch, lines, points)`` to the posterior; ``y`` is part of the contract and not used."""
        return gaussian(self.out(self.body(x.transpose(1, 2).unsqueeze(1))))


class StarterDecoder(nn.Module):
    """p(x|z,y): linear from (z, y), then two transposed convolutions, ReLU at the end."""

    def __init__(self, lines: int, points: int, features: int, latent_dim: int) -> None:
        super().__init__()
        rows = reduced(points)
        self.body = nn.Sequential(
            nn.Linear(latent_dim + features, CHANNELS[1] * rows),
            nn.ReLU(),
            nn.Unflatten(-1, (CHANNELS[1], rows, 1)),
            nn.ConvTranspose2d(CHANNELS[1], CHANNELS[0], (SHORT, 1)),
            nn.ReLU(),
            nn.ConvTranspose2d(CHANNELS[0], 1, (TALL, lines)),
            nn.ReLU(),
        )

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """``z`` ``(batch, samples, latent_dim)``, ``y`` ``(batch, features)`` to ``(batch, samples, lines,
        points)``."""
        inputs = torch.cat([z, y.unsqueeze(1).expand(-1, z.shape[1], -1)], dim=-1)
        x = self.body(inputs.flatten(0, 1))  # (batch * samples, 1, points, lines)
        return x.squeeze(1).transpose(1, 2).unflatten(0, z.shape[:2])


def reduced(points: int) -> int:
    """Rows that the two convolutions leave of ``points``."""
    rows = points - (TALL - 1) - (SHORT - 1)
    if rows < 1:
        raise UserError(f"model=starter needs lines of at least {points - rows + 1} points; here they have {points}.")
    return rows


@recorded
def starter(x_shape: Sequence[int], y_shape: Sequence[int], latent_dim: int) -> GaussianCVAE:
    """The starter with a standard normal prior; solutions and conditions enter as they are, without scaling.

    Args:
        x_shape: ``(lines, points)``.
        y_shape: ``(conditions, points)``.
        latent_dim: size of the latent.

    Raises:
        UserError: for solutions that are no lines, fewer than 23 points, or an empty latent.
    """
    if len(x_shape) != 2:
        raise UserError(
            f"model=starter is made for lines, not for solutions of shape {tuple(x_shape)}; use model=dense."
        )
    if latent_dim < 1:
        raise UserError(f"model.latent_dim is {latent_dim}; it must be at least 1.")
    lines, points = x_shape
    encoder = StarterEncoder(lines, points, latent_dim)
    decoder = StarterDecoder(lines, points, torch.Size(y_shape).numel(), latent_dim)
    return GaussianCVAE(encoder, decoder, StandardNormal(latent_dim), latent_dim, nn.Identity(), nn.Flatten())
