"""Layers that the condition scales and shifts, and a decoder of them."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.heads import Head
from cvae.networks.trunks import Trunk


class Modulated(nn.Module):
    """Features of z and y by feature-wise linear modulation (FiLM, Perez et al. 2018).

    ``h_0 = [z, cos 2 pi f u, sin 2 pi f u]`` for ``f = 1 ... frequencies`` and ``u = Phi(z)``, then
    ``h_i = SiLU(a_i(y) * (W_i h_{i-1}) + b_i(y))``. All that depends on y alone comes from the trunk, once for all
    draws of a condition, and the rest is small, so many draws cost little. The size of a set of solutions, a product of
    z and y, need not be made of sums.

    The periodic features (Tancik et al. 2020) are for sets that are closed: in u, both ends are one place.

    Args:
        trunk: from features of y to features; has ``width``.
        latent_dim: size of ``z``.
        width: size of each of the layers.
        layers: how many.
        frequencies: how many of each coordinate of z; 0 for none.

    Raises:
        UserError: for sizes that make no sense.
    """

    frequencies: Tensor

    def __init__(self, trunk: Trunk, latent_dim: int, width: int, layers: int = 3, frequencies: int = 4) -> None:
        super().__init__()
        for name, value, least in (("width", width, 1), ("layers", layers, 1), ("frequencies", frequencies, 0)):
            if value < least:
                raise UserError(f"model.{name} is {value}; it must be at least {least}.")
        self.trunk, self.width = trunk, width
        sizes = [latent_dim * (1 + 2 * frequencies), *[width] * layers]
        self.layers = nn.ModuleList(
            nn.Linear(inputs, outputs, bias=False) for inputs, outputs in itertools.pairwise(sizes)
        )
        self.scale = nn.Linear(trunk.width, layers * width)
        self.shift = nn.Linear(trunk.width, layers * width)
        self.register_buffer("frequencies", torch.arange(1.0, 1 + frequencies), persistent=False)

    def features(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``h_n`` ``(batch, samples, width)`` and the trunk's features ``(batch, trunk.width)``, of ``z``
        ``(batch, samples, latent_dim)`` and ``y`` ``(batch, features)``."""
        of_y = self.trunk(y)
        scales = (1 + self.scale(of_y)).unsqueeze(1).split(self.width, -1)
        shifts = self.shift(of_y).unsqueeze(1).split(self.width, -1)
        angles = (2 * math.pi * torch.special.ndtr(z).unsqueeze(-1) * self.frequencies).flatten(-2)
        h = torch.cat([z, angles.cos(), angles.sin()], dim=-1)
        for layer, scale, shift in zip(self.layers, scales, shifts, strict=True):
            h = nn.functional.silu(torch.addcmul(shift, layer(h), scale))
        return h, of_y


class ModulatedDecoder(Modulated):
    """p(x|z,y) of modulated layers: ``x = head(W h_n + c(y) + D(y) z)``.

    Args:
        trunk, latent_dim, width, layers, frequencies: see :class:`Modulated`.
        head: from ``head.outputs`` numbers to a solution.

    Raises:
        UserError: for sizes that make no sense.
    """

    def __init__(self, trunk: Trunk, head: Head, latent_dim: int, width: int, layers: int, frequencies: int) -> None:
        super().__init__(trunk, latent_dim, width, layers, frequencies)
        self.head = head
        self.out = nn.Linear(width, head.outputs)
        self.linear = nn.Linear(trunk.width, (1 + latent_dim) * head.outputs)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """``z`` ``(batch, samples, latent_dim)`` and ``y`` ``(batch, features)`` to ``(batch, samples, ...)``."""
        h, of_y = self.features(z, y)
        constant, slopes = self.linear(of_y).unflatten(-1, (-1, self.head.outputs)).split([1, z.shape[-1]], 1)
        return self.head(self.out(h) + constant + z @ slopes)
