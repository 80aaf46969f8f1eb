"""The challenge's initial network, kept as the baseline."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, fold, relu

from cvae.networks.base import GaussianCVAE
from cvae.networks.latent import Gaussian, StandardNormal, gaussian

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
        first, second = cast(nn.Conv2d, self.body[0]), cast(nn.Conv2d, self.body[2])
        h = relu(first(x.transpose(1, 2).unsqueeze(1))).squeeze(-1)
        # the same sums as by the layers themselves, which take half as long again
        h = relu(conv1d(h, second.weight.squeeze(-1), second.bias))
        return gaussian(self.out(h.flatten(1)))


class StarterDecoder(nn.Module):
    """p(x|z,y): linear from (z, y), then two transposed convolutions, ReLU at the end."""

    def __init__(self, lines: int, points: int, conditions: int, latent_dim: int) -> None:
        super().__init__()
        rows = reduced(points)
        self.body = nn.Sequential(
            nn.Linear(latent_dim + conditions * points, CHANNELS[1] * rows),
            nn.ReLU(),
            nn.Unflatten(-1, (CHANNELS[1], rows, 1)),
            nn.ConvTranspose2d(CHANNELS[1], CHANNELS[0], (SHORT, 1)),
            nn.ReLU(),
            nn.ConvTranspose2d(CHANNELS[0], 1, (TALL, lines)),
            nn.ReLU(),
        )

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """``z`` ``(batch, samples, latent_dim)``, ``y`` ``(batch, features)`` to ``(batch, samples, ...)``."""
        inputs = torch.cat([z, y.unsqueeze(1).expand(-1, z.shape[1], -1)], dim=-1)
        first, last = cast(nn.ConvTranspose2d, self.body[3]), cast(nn.ConvTranspose2d, self.body[5])
        h = self.body[:3](inputs.flatten(0, 1)).squeeze(-1)
        # the same sums as by the layers themselves, which take half as long again, and twice as long for many draws
        kernels = first.weight.squeeze(-1).flip(-1).transpose(0, 1)
        h = relu(conv1d(h, kernels, first.bias, padding=SHORT - 1))
        lines = last.kernel_size[1]
        products = last.weight.flatten(1).T @ h
        x = fold(products, (h.shape[-1] + TALL - 1, lines), (TALL, lines)) + cast(Tensor, last.bias)[:, None, None]
        return relu(x).squeeze(1).transpose(1, 2).unflatten(0, z.shape[:2])


def reduced(points: int) -> int:
    """Rows that the two convolutions leave of ``points``."""
    rows = points - (TALL - 1) - (SHORT - 1)
    if rows < 1:
        raise ValueError(f"data.points is {points}; model=starter needs at least {points - rows + 1}.")
    return rows


def starter(lines: int, points: int, conditions: int, latent_dim: int) -> GaussianCVAE:
    """The starter with a standard normal prior; conditions enter as they are, without scaling.

    Args:
        lines, points, conditions: shapes of solutions ``(lines, points)`` and conditions ``(conditions, points)``.
        latent_dim: size of the latent.

    Raises:
        ValueError: for fewer than 23 points.
    """
    if latent_dim < 1:
        raise ValueError(f"model.latent_dim is {latent_dim}; it must be at least 1.")
    encoder = StarterEncoder(lines, points, latent_dim)
    decoder = StarterDecoder(lines, points, conditions, latent_dim)
    return GaussianCVAE(encoder, decoder, StandardNormal(latent_dim), latent_dim, nn.Flatten())
