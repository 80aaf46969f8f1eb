"""Share of valid draws."""

from __future__ import annotations

from torch import Tensor

from cvae.metrics.base import MeanOverConditions
from cvae.problems import Check


def valid_share(valid: Tensor) -> Tensor:
    """Share of valid draws, bool ``(batch, draws)`` to ``(batch,)``."""
    return valid.float().mean(-1)


class Valid(MeanOverConditions):
    """See :func:`valid_share`."""

    higher_is_better = True

    def measure(self, x: Tensor, check: Check) -> Tensor:
        return valid_share(check.valid)
