"""Measures of draws against reference sets: how much of what is possible they reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from cvae.metrics.base import RunningMean
from cvae.metrics.choice import best_cover
from cvae.metrics.draws import Coordinates, coverage
from cvae.metrics.records import Check, Drawn

#: reference solutions of a condition that draws are compared with, at most
COMPARED = 2000


def coverage_limit(u: Tensor, draws: int) -> Tensor:
    """Coverage that the best known choice of ``draws`` reference solutions reaches, a number; 0 without any.

    Args:
        u: coordinates of the reference solutions as shares of their ranges, ``(count, coordinates)``.
        draws: how many are chosen.
    """
    if len(u) == 0:
        return u.new_zeros(())
    everything = torch.ones(1, len(u), dtype=torch.bool, device=u.device)
    chosen = best_cover(u.unsqueeze(0), everything, draws)[0]
    return coverage(u[chosen].unsqueeze(0), everything[:, chosen])[0]


def coverage_ratio(covered: Tensor, limit: Tensor) -> Tensor:
    """``coverage / coverage_limit``, each ``(batch,)``; nan where the limit is 0."""
    return torch.where(limit > 0, covered / limit, torch.nan)


class CoverageRatio(RunningMean):
    """Mean of :func:`coverage_ratio` over the conditions that have a limit above 0.

    Args:
        coordinates: from solutions to coordinates as shares of their ranges.
        limits: of the first conditions, ``(count,)``; later ones are passed over.
    """

    higher_is_better = True
    limits: Tensor

    def __init__(self, coordinates: Coordinates, limits: Tensor) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.register_buffer("limits", limits, persistent=False)

    def update(self, drawn: Drawn) -> None:
        """Add draws of any conditions."""
        known = drawn.which < len(self.limits)
        x, valid = drawn.x[known], cast(Check, drawn.check).valid[known]
        ratio = coverage_ratio(coverage(self.coordinates(x), valid), self.limits[drawn.which[known]])
        self.total += ratio.nansum().to(self.total.dtype)
        self.count += (~ratio.isnan()).sum()


class ReferenceDistance(RunningMean):
    """Mean distance of a reference solution to the nearest valid draw, over the conditions that have such solutions.

    The inverted generational distance (Coello Coello & Reyes Sierra 2004) in the space of parameters (IGDX, Zhou, Zhang
    & Jin 2009), as a mean. A distance is the root of the mean square over the parameters, as shares of their ranges; 1,
    which none exceeds, where no draw is valid. Coverage looks at one coordinate at a time; this sees a branch that is
    left out. More draws make it smaller, so compare equal numbers of them.

    Args:
        parameters: from solutions ``(..., *x_shape)`` to parameters as shares of their ranges.
        references: parameters of reference solutions ``(count, parameters)``, as shares of their ranges, for each of
            the first conditions; later ones are passed over. At most :data:`COMPARED` are taken, evenly.
    """

    higher_is_better = False

    def __init__(self, parameters: Coordinates, references: Sequence[Tensor]) -> None:
        super().__init__()
        self.parameters_of = parameters
        self.references = [one[:: max(-(-len(one) // COMPARED), 1)] for one in references]

    def update(self, drawn: Drawn) -> None:
        """Add draws of any conditions."""
        # by a matrix product, as is usual for many, the distance of a solution to itself is not 0
        exact = "donot_use_mm_for_euclid_dist"
        for theta, valid, reference in _with_references(self.parameters_of, self.references, drawn):
            distances = torch.cdist(reference, theta[valid], compute_mode=exact) / theta.shape[-1] ** 0.5
            self.total += distances.amin(1).mean().to(self.total.dtype) if valid.any() else 1.0
            self.count += 1


def _with_references(
    parameters: Coordinates, references: Sequence[Tensor], drawn: Drawn
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of each condition that has reference solutions, the parameters of its draws ``(draws, parameters)``, which of
    them are valid, bool ``(draws,)``, and its references ``(count, parameters)``, in whose number format all are."""
    theta, valid = parameters(drawn.x), cast(Check, drawn.check).valid
    for row, index in enumerate(drawn.which.tolist()):
        if index < len(references) and len(references[index]) > 0:
            reference = references[index].to(theta.device)
            yield theta[row].to(reference), valid[row], reference


def mode_hits(found: Tensor, valid: Tensor, reference: Tensor) -> int:
    """Number of reference solutions that are the nearest one of at least one valid draw.

    Args:
        found: parameters of the draws as shares of their ranges, ``(draws, parameters)``.
        valid: bool ``(draws,)``.
        reference: the same of all solutions, ``(count, parameters)``.
    """
    if len(reference) == 0:
        return 0
    return torch.cdist(found[valid], reference).argmin(1).unique().numel()


class ModeRecall(RunningMean):
    """Share of separate solutions that draws find, over the conditions that have reference solutions.

    Args:
        parameters: from solutions ``(..., *x_shape)`` to parameters as shares of their ranges.
        references: parameters of all solutions ``(count, parameters)``, as shares of their ranges, for each of the
            first conditions; later ones are passed over.
        pooled: the share of the solutions of all conditions together, of which conditions with many are the larger
            part; otherwise the mean over conditions.
    """

    higher_is_better = True

    def __init__(self, parameters: Coordinates, references: Sequence[Tensor], pooled: bool = False) -> None:
        super().__init__()
        self.parameters_of = parameters
        self.references = list(references)
        self.pooled = pooled

    def update(self, drawn: Drawn) -> None:
        """Add draws of any conditions."""
        for theta, valid, reference in _with_references(self.parameters_of, self.references, drawn):
            hits = mode_hits(theta, valid, reference)
            self.total += hits if self.pooled else hits / len(reference)
            self.count += len(reference) if self.pooled else 1
