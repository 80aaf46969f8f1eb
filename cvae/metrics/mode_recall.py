"""The share of a finite set of solutions that draws find."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cvae.metrics.base import RunningMean


def mode_recall(endpoints: Tensor, valid: Tensor, reference: Tensor) -> Tensor:
    """Share of the reference solutions that are the nearest one of at least one valid draw.

    Args:
        endpoints: of the draws, ``(draws, lines, 2)``.
        valid: bool ``(draws,)``.
        reference: endpoints of all solutions, ``(count, lines, 2)``.

    Returns:
        A number in [0, 1]; nan where the reference set is empty.
    """
    if len(reference) == 0:
        return endpoints.new_tensor(torch.nan)
    nearest = torch.cdist(endpoints[valid].flatten(1), reference.flatten(1)).argmin(1)
    return nearest.unique().numel() / reference.new_tensor(float(len(reference)))


class ModeRecall(RunningMean):
    """Mean of :func:`mode_recall` over the conditions that have reference solutions."""

    higher_is_better = True

    def update(self, endpoints: Tensor, valid: Tensor, references: Sequence[Tensor]) -> None:
        """Add draws' endpoints ``(batch, draws, lines, 2)``, their validity and one reference set per condition."""
        for one, reference in enumerate(references):
            recall = mode_recall(endpoints[one], valid[one], reference)
            if not recall.isnan():
                self.total += recall.to(self.total.dtype)
                self.count += 1
