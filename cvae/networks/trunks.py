"""Bodies of encoders and decoders: plain and residual perceptrons, and the scaling of conditions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Trunk(nn.Sequential):
    """What every trunk has: the ``width`` of the features that it gives."""

    width: int


class Dense(Trunk):
    """Perceptron ``inputs -> hidden[0] -> ...`` with SiLU after each layer; ``width`` is the last size."""

    def __init__(self, inputs: int, hidden: Sequence[int]) -> None:
        if not hidden:
            raise ValueError("model.hidden is empty; give at least one layer size, for example [256, 256].")
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(inputs, size), nn.SiLU()]
            inputs = size
        super().__init__(*layers)
        self.width = inputs


class ResidualBlock(nn.Module):
    """``h + W2 SiLU(W1 LayerNorm(h))``, the pre-norm block of He et al. 2016 and Xiong et al. 2020."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.bias)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.outer(nn.functional.silu(self.inner(self.norm(h))))


class Residual(Trunk):
    """``inputs -> width``, then ``blocks`` residual blocks and a last LayerNorm."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        if width < 1 or blocks < 1:
            raise ValueError(f"model.width is {width} and model.blocks is {blocks}; both must be at least 1.")
        body = [ResidualBlock(width) for _ in range(blocks)]
        super().__init__(nn.Linear(inputs, width), *body, nn.LayerNorm(width), nn.SiLU())
        self.width = width


class ConditionScaler(nn.Module):
    """Brings conditions of any unit to order 1: ``asinh((y - centre) / scale)``, flattened.

    Centre and scale are robust (median, interquartile range) and come from the training data; the inverse
    hyperbolic sine is linear near the centre and logarithmic far out, so a quotient with a pole does not blind the
    network.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, conditions: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(conditions, 1))
        self.register_buffer("scale", torch.ones(conditions, 1))

    @torch.no_grad()
    def fit(self, y: Tensor) -> None:
        """Take centre and scale from ``y`` ``(count, conditions, points)``."""
        # torch.quantile is limited to 2**24 values; a few thousand curves tell enough
        values = y[:4096].cpu().transpose(0, 1).flatten(1).double()
        low, middle, high = (_quantile(values, q) for q in (0.25, 0.5, 0.75))
        spread = (high - low) / 1.349
        # differences below this are rounding
        smallest = 1e-6 * torch.maximum(low.abs(), high.abs())
        # a curve that is constant over half its values has no interquartile range
        spread = torch.where(spread > smallest, spread, values.std(1))
        self.centre.copy_(middle.unsqueeze(1))
        self.scale.copy_(torch.where(spread > smallest, spread, torch.ones_like(spread)).unsqueeze(1))

    def forward(self, y: Tensor) -> Tensor:
        """``(batch, conditions, points)`` to features ``(batch, conditions * points)``."""
        return torch.asinh((y - self.centre) / self.scale).flatten(1)


def _quantile(values: Tensor, q: float) -> Tensor:
    rank = max(int(q * (values.shape[1] - 1)), 0) + 1
    return values.kthvalue(rank, dim=1).values
