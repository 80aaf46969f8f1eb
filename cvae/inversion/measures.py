"""Measures of draws against the reference sets of their conditions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from cvae.inversion.reference import ReferenceSet
from cvae.metrics import CoverageRatio, ModeRecall, coverage_limit
from cvae.tasks import Problem


def coverage_limits(problem: Problem, references: Sequence[ReferenceSet], draws: int) -> Tensor:
    """What the coverage of ``draws`` solutions can reach for each condition, ``(count,)``."""
    space = problem.space
    return torch.stack([coverage_limit(space.coordinates(space.decode(one.theta)), draws) for one in references])


def reference_measures(problem: Problem, references: Sequence[ReferenceSet], draws: int) -> MetricCollection:
    """``coverage_ratio`` where solutions form a continuum; ``mode_recall``, averaged over conditions, and
    ``mode_recall_pooled`` where they are separate; empty without reference sets.

    Args:
        problem: gives the space.
        references: reference sets of the first conditions; later conditions have none.
        draws: draws for each condition, which the limit of the coverage is for.
    """
    space = problem.space
    if not references:
        return MetricCollection({})
    if not all(reference.finite for reference in references):
        limits = coverage_limits(problem, references, draws)
        return MetricCollection({"coverage_ratio": CoverageRatio(space.coordinates, limits)})

    def parameters(x: Tensor) -> Tensor:
        return space.scaled(space.encode(x))

    sets = [space.scaled(reference.theta) for reference in references]
    return MetricCollection(
        {
            "mode_recall": ModeRecall(parameters, sets),
            "mode_recall_pooled": ModeRecall(parameters, sets, pooled=True),
        },
        # their updates differ
        compute_groups=False,
    )
