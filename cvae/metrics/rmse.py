"""Misfit of draws."""

from __future__ import annotations

from torch import Tensor

from cvae.metrics.base import MeanOverConditions
from cvae.problems import Check


def rmse(misfit: Tensor) -> Tensor:
    """Mean misfit over draws, ``(batch, draws)`` to ``(batch,)``; inf if a draw is not finite."""
    return misfit.mean(-1)


class RMSE(MeanOverConditions):
    """See :func:`rmse`; in units of y."""

    higher_is_better = False

    def measure(self, x: Tensor, check: Check) -> Tensor:
        return rmse(check.misfit)
