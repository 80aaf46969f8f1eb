"""The refinement stage: draws that miss are pulled onto their condition."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.problems import Check, Problem
from cvae.problems.refinement import CHUNK, refine


def refine_draws(
    problem: Problem, x: Tensor, y: Tensor, check: Check, steps: int, generator: torch.Generator, exact: bool
) -> tuple[Tensor, int]:
    """Pull draws towards their condition by Levenberg-Marquardt on the endpoints.

    On a continuum (``exact=False``) valid draws are left alone, and the others are pulled only to a random misfit
    below the gate: pulling all to zero would shrink what they cover to the exact solutions. Where solutions are
    separate (``exact=True``) every draw goes to zero misfit, since only then copies of one solution can be told
    from different solutions. A draw that would become worse stays as it was.

    Args:
        problem: gives f, range, directions and gates.
        x: draws ``(batch, draws, lines, points)``.
        y: conditions ``(batch, conditions, points)``.
        check: of the draws.
        steps: Levenberg-Marquardt steps.
        generator: source of the random misfits.
        exact: whether to go for zero misfit.

    Returns:
        Draws of the same shape, and how often f was evaluated on one solution.
    """
    chosen = torch.ones_like(check.valid) if exact else ~check.valid
    if steps == 0 or not chosen.any():
        return x, 0
    conditions, draws = chosen.nonzero(as_tuple=True)
    target = None
    if not exact:
        # short of the gate itself, so that rounding cannot put a draw on the wrong side
        share = torch.rand(len(draws), generator=generator, device=generator.device).to(x)
        target = 0.98 * problem.gates.rmse * share
    result = x.clone()
    evaluations = 0
    for start in range(0, len(draws), CHUNK):
        part = slice(start, start + CHUNK)
        condition, draw = conditions[part], draws[part]
        before, wanted = x[condition, draw], y[condition]
        goal = None if target is None else target[part]
        refined = refine(problem, problem.geometry.to_endpoints(before), wanted, steps, goal)
        after = problem.geometry.to_lines(refined.endpoints)
        # a draw may be valid while bent; its straight version is taken only if it is no worse, and not a constant
        still = problem.check(after.unsqueeze(1), wanted).valid[:, 0]
        worse = check.valid[condition, draw] & (~still | (refined.misfit > check.misfit[condition, draw]))
        result[condition, draw] = torch.where(worse[:, None, None], before, after)
        evaluations += refined.evaluations + len(after)
    return result, evaluations
