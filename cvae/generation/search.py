"""The last resort: conditions for which too few draws are valid are searched without the network."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.problems import Check, Problem
from cvae.problems.reference import search_pool
from cvae.problems.refinement import refine
from cvae.seeds import stream

#: nearest members of the pool that are refined for a condition
STARTS = 300
#: disturbance of a known solution, as a share of the range, from which another near it is refined
JITTER = 0.02
#: key of the random numbers of its pool, which shall not be that of the reference sets
SEARCH = 15


def search_missing(
    problem: Problem,
    x: Tensor,
    y: Tensor,
    check: Check,
    count: int,
    pool: int,
    steps: int,
    seed: int,
    exact: bool,
    first: int = 0,
) -> tuple[Tensor, int, int]:
    """Replace invalid draws of conditions that have fewer than ``count`` valid ones.

    First by the nearest members of a simulated pool, refined; then, if a condition still has too few, by solutions
    refined from disturbed copies of those found. Conditions with enough valid draws are left alone.

    Args:
        problem: what is to be inverted.
        x: draws ``(batch, draws, lines, points)``.
        y: conditions ``(batch, conditions, points)``.
        check: of the draws.
        count: valid draws that a condition needs.
        pool: simulated solutions to search.
        steps: Levenberg-Marquardt steps.
        seed: fixes the pool and the disturbances.
        exact: whether to go for zero misfit, see :func:`cvae.generation.refine.refine_draws`.
        first: number of the first of these conditions among all, so that results do not depend on the chunks.

    Returns:
        Draws of the same shape, the number of conditions that were searched, and how often f was evaluated on one
        solution.
    """
    lacking = (check.valid.sum(1) < min(count, x.shape[1])).nonzero().squeeze(1)
    if len(lacking) == 0:
        return x, 0, 0
    x = x.clone()
    found = search_pool(problem, y[lacking], 0, STARTS, seed, pool, SEARCH)
    evaluations = pool
    for index, starts in zip(lacking.tolist(), found.nearest, strict=True):
        generator = stream(seed, 13, first + index)
        evaluations += _replace(problem, x, y, index, starts, steps, generator, exact)
        valid = problem.check(x[index : index + 1], y[index : index + 1]).valid[0]
        if 0 < int(valid.sum()) < count:
            known = problem.geometry.to_endpoints(x[index][valid])
            copies = known[torch.randint(len(known), (STARTS,), generator=generator).to(x.device)]
            noise = torch.randn(copies.shape, generator=generator).to(x) * JITTER * problem.geometry.span
            evaluations += _replace(problem, x, y, index, copies + noise, steps, generator, exact)
    return x, len(lacking), evaluations


def _replace(
    problem: Problem, x: Tensor, y: Tensor, index: int, starts: Tensor, steps: int, generator: torch.Generator,
    exact: bool,
) -> int:  # fmt: skip
    """Put refined starts that are valid in the place of invalid draws of one condition; in place."""
    target = None
    if not exact:
        target = 0.98 * problem.gates.rmse * torch.rand(len(starts), generator=generator).to(x)
    one = y[index : index + 1]
    refined = refine(problem, starts, one.expand(len(starts), -1, -1), steps, target)
    candidates = problem.geometry.to_lines(refined.endpoints)
    good = candidates[problem.check(candidates.unsqueeze(0), one).valid[0]]
    free = (~problem.check(x[index : index + 1], one).valid[0]).nonzero().squeeze(1)[: len(good)]
    x[index, free] = good[: len(free)]
    return refined.evaluations
