"""Measures of draws against the reference sets of their conditions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from cvae.archives import cached, save
from cvae.inversion.cover import spread_out
from cvae.inversion.reference import ReferenceSet, cache_path, polished, told
from cvae.metrics import CoverageRatio, ModeRecall, ReferenceDistance, best_cover, coverage_limit
from cvae.tasks import Problem


def coverage_limits(
    problem: Problem, references: Sequence[ReferenceSet], draws: int, folder: str | Path | None = None
) -> Tensor:
    """What the coverage of ``draws`` solutions can reach for each condition, ``(count,)``.

    That of the best known choice: from the reference set, greedy with exchanges; then, where the condition is known,
    spread out (:func:`cvae.inversion.cover.spread_out`) and polished (:func:`cvae.inversion.reference.polished`).

    Args:
        problem: gives the space.
        references: reference sets of the conditions.
        draws: how many are chosen of each.
        folder: where the limits are kept, under a hash of all of that; None works them out.
    """
    limits = path = None
    if folder is not None:
        known = [one.y is not None for one in references]
        parts = [part for one in references for part in (one.theta, one.y) if part is not None]
        path = cache_path(folder, "limit", f"{problem.digest} {draws} {known}", parts)
        limits = cached(path, lambda content: content.shape == (len(references),) and bool(content.isfinite().all()))
    if limits is None:
        chosen = _chosen(problem, references, draws)
        each = told(zip(chosen, references, strict=True), len(references), "conditions whose best coverage is known")
        limits = torch.stack([_limit(problem, theta, one.y, draws) for theta, one in each])
        if path is not None:
            save(path, limits.cpu())
    return cast(Tensor, limits).to(references[0].theta.device)


def _chosen(problem: Problem, references: Sequence[ReferenceSet], draws: int) -> list[Tensor]:
    """Parameters of the best choice from each reference set, spread out where there are enough and y is known."""
    space, chosen = problem.space, []
    for one in told(references, len(references), "conditions of which a choice is made"):
        u = space.coordinates(space.decode(one.theta)).unsqueeze(0)
        valid = torch.ones(u.shape[:2], dtype=torch.bool, device=u.device)
        chosen.append(one.theta[best_cover(u, valid, draws)[0]] if len(one.theta) else one.theta)
    full = [place for place, one in enumerate(references) if one.y is not None and len(chosen[place]) == draws]
    if full:
        y = torch.stack([cast(Tensor, references[place].y) for place in full])
        spread = spread_out(problem, torch.stack([chosen[place] for place in full]), y)
        valid = problem.check(space.decode(spread), y).valid
        for place, theta, passed in zip(full, spread, valid, strict=True):
            chosen[place] = theta[passed]
    return chosen


def _limit(problem: Problem, chosen: Tensor, y: Tensor | None, draws: int) -> Tensor:
    if y is not None:
        chosen = polished(problem, chosen, y, draws)
    return coverage_limit(problem.space.coordinates(problem.space.decode(chosen)), draws)


def reference_measures(
    problem: Problem, references: Sequence[ReferenceSet], draws: int, folder: str | Path | None = None
) -> MetricCollection:
    """``coverage_ratio`` and ``reference_distance`` where solutions form a continuum; ``mode_recall``, averaged over
    conditions, and ``mode_recall_pooled`` where they are separate; empty without reference sets.

    Args:
        problem: gives the space.
        references: reference sets of the first conditions; later conditions have none.
        draws: draws for each condition, which the limit of the coverage is for.
        folder: where such limits are kept, see :func:`coverage_limits`.
    """
    space = problem.space
    if not references:
        return MetricCollection({})

    def parameters(x: Tensor) -> Tensor:
        return space.scaled(space.encode(x))

    sets = [space.scaled(reference.theta) for reference in references]
    found: dict[str, Metric | MetricCollection]
    if all(reference.finite for reference in references):
        pooled = ModeRecall(parameters, sets, pooled=True)
        found = {"mode_recall": ModeRecall(parameters, sets), "mode_recall_pooled": pooled}
    else:
        limits = coverage_limits(problem, references, draws, folder)
        ratio = CoverageRatio(space.coordinates, limits)
        found = {"coverage_ratio": ratio, "reference_distance": ReferenceDistance(parameters, sets)}
    # their updates differ
    return MetricCollection(found, compute_groups=False)
