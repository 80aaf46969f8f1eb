"""The challenge's own score."""

from __future__ import annotations

from torch import Tensor

from cvae.metrics.base import MeanOverConditions
from cvae.metrics.coverage import coverage
from cvae.problems import Check


def score(x: Tensor, valid: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Coverage, but 0 for a condition of which any draw is invalid, ``(batch,)``.

    Arguments as for :func:`cvae.metrics.coverage.coverage`.
    """
    return coverage(x, valid, value_range) * valid.all(-1)


class Score(MeanOverConditions):
    """See :func:`score`."""

    higher_is_better = True

    def __init__(self, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.value_range = value_range

    def measure(self, x: Tensor, check: Check) -> Tensor:
        return score(x, check.valid, self.value_range)
