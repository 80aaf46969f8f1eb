"""Height between the highest and the lowest valid draw."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.base import MeanOverConditions
from cvae.problems import Check


def envelope(x: Tensor, valid: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Mean height of the band of valid draws, over lines and points, as a share of the range.

    Args:
        x: draws ``(batch, draws, lines, points)``.
        valid: bool ``(batch, draws)``.
        value_range: lowest and highest value.

    Returns:
        ``(batch,)`` in [0, 1]; 0 with fewer than two valid draws.
    """
    low, high = value_range
    mask = valid[..., None, None]
    top = torch.where(mask, x, -torch.inf).amax(1)
    bottom = torch.where(mask, x, torch.inf).amin(1)
    return (top - bottom).clamp_min(0).mean((1, 2)) / (high - low)


class Envelope(MeanOverConditions):
    """See :func:`envelope`."""

    higher_is_better = True

    def __init__(self, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.value_range = value_range

    def measure(self, x: Tensor, check: Check) -> Tensor:
        return envelope(x, check.valid, self.value_range)
