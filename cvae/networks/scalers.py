"""Units of what networks see, taken from the training data."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaler(nn.Module):
    """Brings values to order 1, by a centre and a scale that :meth:`fit` takes from training data."""

    centre: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        shape = tuple(shape)
        self.register_buffer("centre", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def fit(self, values: Tensor) -> None:
        """Take centre and scale from ``values`` ``(count, *shape)``."""
        raise NotImplementedError

    def forward(self, values: Tensor) -> Tensor:
        """``(batch, *shape)`` in units of the scale from the centre, of the same shape."""
        return (values - self.centre) / self.scale


class RangeScaler(Scaler):
    """Solutions of any unit to shares of the range that the training data span, for each coordinate.

    Args:
        shape: shape of one solution.
    """

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Take centre and scale from ``values`` ``(count, *shape)``."""
        low, high = values.amin(0), values.amax(0)
        self.centre.copy_(low)
        # a coordinate that is the same in all data has no range
        self.scale.copy_(torch.where(high > low, high - low, 1.0))


class StandardScaler(Scaler):
    """Solutions of any unit to mean 0 and standard deviation 1 over the training data, for each coordinate.

    Args:
        shape: shape of one solution.
    """

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Take centre and scale from ``values`` ``(count, *shape)``."""
        self.centre.copy_(values.mean(0))
        spread = values.std(0)
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))

    def inverse(self, values: Tensor) -> Tensor:
        """Back to solutions, ``(..., *x_shape)``."""
        return self.centre + self.scale * values


class ConditionScaler(Scaler):
    """Conditions of any unit to order 1: ``asinh((y - centre) / scale)``, flattened.

    Centre and scale are robust (median, interquartile range) and come from the training data, one for each curve or
    for each entry of a vector; the inverse hyperbolic sine is linear near the centre and logarithmic far out, so a
    quotient with a pole does not blind the network.

    Args:
        y_shape: shape of one condition: ``(conditions, points)`` or ``(values,)``, also ``(0,)``.
        repeat: how often the features are given, which lets a single number weigh against many of x or z.
    """

    def __init__(self, y_shape: tuple[int, ...], repeat: int = 1) -> None:
        super().__init__((*y_shape[:-1], 1) if len(y_shape) > 1 else tuple(y_shape))
        self.repeat = repeat

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Take centre and scale from ``values`` ``(count, *shape)``."""
        if values[0].numel() == 0:
            return
        # torch.quantile is limited to 2**24 values; a few thousand curves tell enough
        few = values[:4096].cpu().double()
        rows = (few.movedim(0, -2) if few.dim() > 2 else few.T).reshape(self.centre.numel(), -1)
        low, middle, high = (_quantile(rows, q) for q in (0.25, 0.5, 0.75))
        spread = (high - low) / 1.349
        # differences below this are rounding
        smallest = 1e-6 * torch.maximum(low.abs(), high.abs())
        # a curve that is constant over half its values has no interquartile range
        spread = torch.where(spread > smallest, spread, rows.std(1))
        self.centre.copy_(middle.view_as(self.centre))
        self.scale.copy_(torch.where(spread > smallest, spread, 1.0).view_as(self.scale))

    def forward(self, y: Tensor) -> Tensor:
        """``(batch, *y_shape)`` to features ``(batch, features)``."""
        return torch.asinh((y - self.centre) / self.scale).flatten(1).repeat(1, self.repeat)


def _quantile(values: Tensor, q: float) -> Tensor:
    rank = max(int(q * (values.shape[1] - 1)), 0) + 1
    return values.kthvalue(rank, dim=1).values
