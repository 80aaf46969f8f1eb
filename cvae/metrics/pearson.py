"""Straightness of draws."""

from __future__ import annotations

from torch import Tensor

from cvae.metrics.base import MeanOverConditions
from cvae.problems import Check


def pearson(straightness: Tensor) -> Tensor:
    """Straightness ``(batch, draws, lines)`` of the worst line of each draw, mean over draws, ``(batch,)``."""
    return straightness.amin(-1).mean(-1)


class Pearson(MeanOverConditions):
    """See :func:`pearson`; 1 is a perfect line with the right slope, constant lines count 0."""

    higher_is_better = True

    def measure(self, x: Tensor, check: Check) -> Tensor:
        return pearson(check.straightness)
