"""How close the coverage of draws comes to what is possible."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cvae.metrics.base import RunningMean
from cvae.metrics.coverage import coverage
from cvae.metrics.coverage_limit import greedy_cover
from cvae.problems import Check, LineGeometry
from cvae.problems.reference import ReferenceSet


def coverage_limit(geometry: LineGeometry, references: Sequence[ReferenceSet], draws: int) -> Tensor:
    """Coverage that a greedy choice of ``draws`` reference solutions reaches, for each condition, ``(count,)``.

    0 where a condition has no reference solution.
    """
    limits = []
    for reference in references:
        x = geometry.to_lines(reference.endpoints).unsqueeze(0)
        everything = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if x.shape[1] == 0:
            limits.append(x.new_zeros(()))
            continue
        chosen = greedy_cover(x, everything, draws, geometry.range)[0]
        limits.append(coverage(x[:, chosen], everything[:, chosen], geometry.range)[0])
    return torch.stack(limits)


def coverage_ratio(swept: Tensor, limit: Tensor) -> Tensor:
    """``coverage / coverage_limit``, each ``(batch,)``; nan where the limit is 0."""
    return torch.where(limit > 0, swept / limit, torch.nan)


class CoverageRatio(RunningMean):
    """Mean of :func:`coverage_ratio` over the conditions that have a limit.

    Args:
        value_range: lowest and highest value of the raster.
    """

    higher_is_better = True

    def __init__(self, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.value_range = value_range

    def update(self, x: Tensor, check: Check, limit: Tensor) -> None:
        """Add draws ``(batch, draws, lines, points)``, their check and their limits ``(batch,)``."""
        ratio = coverage_ratio(coverage(x, check.valid, self.value_range), limit)
        self.total += ratio.nansum().to(self.total.dtype)
        self.count += (~ratio.isnan()).sum()
