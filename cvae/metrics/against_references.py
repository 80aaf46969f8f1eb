"""Draws held against reference sets, for those conditions that have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cvae.metrics.coverage_ratio import CoverageRatio, coverage_limit
from cvae.metrics.mode_recall import ModeRecall
from cvae.problems import Problem
from cvae.problems.reference import ReferenceSet

if TYPE_CHECKING:
    from cvae.evaluation import Drawn


class AgainstReferences(nn.Module):
    """``coverage_ratio`` where solutions form a continuum, ``mode_recall`` where they are separate.

    Args:
        problem: gives the geometry.
        references: reference sets of the first conditions; later conditions have none.
        draws: draws for each condition, which the limit of the coverage is for.
    """

    limit: Tensor

    def __init__(self, problem: Problem, references: Sequence[ReferenceSet], draws: int) -> None:
        super().__init__()
        self.problem = problem
        self.references = list(references)
        finite = bool(references) and all(reference.finite for reference in references)
        self.mode_recall = ModeRecall() if finite else None
        self.coverage_ratio = CoverageRatio(problem.geometry.range) if references and not finite else None
        limit = torch.zeros(0) if finite or not references else coverage_limit(problem.geometry, references, draws)
        self.register_buffer("limit", limit, persistent=False)

    def update(self, drawn: Drawn) -> None:
        """Add draws of any conditions; those without a reference set are passed over."""
        known = drawn.which < len(self.references)
        if not known.any():
            return
        which, x, check = drawn.which[known], drawn.x[known], drawn.check.at(known)
        if self.coverage_ratio is not None:
            self.coverage_ratio.update(x, check, self.limit[which])
        if self.mode_recall is not None:
            references = [self.references[index].endpoints.to(x) for index in which.tolist()]
            self.mode_recall.update(self.problem.geometry.to_endpoints(x), check.valid, references)

    def compute(self, prefix: str | None) -> dict[str, Tensor]:
        """The measure that applies, under its name with ``prefix``; empty without reference sets."""
        measures = {"coverage_ratio": self.coverage_ratio, "mode_recall": self.mode_recall}
        return {f"{prefix or ''}{name}": measure.compute() for name, measure in measures.items() if measure is not None}

    def reset(self) -> None:
        """Forget all draws."""
        for measure in (self.coverage_ratio, self.mode_recall):
            if measure is not None:
                measure.reset()
