"""The refinement stage: draws that miss are pulled onto their condition."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.inversion import refine
from cvae.metrics import Check
from cvae.tasks import Problem

#: how close to the gate a refined draw may come, so that rounding cannot put it on the wrong side
SHORT_OF_GATE = 0.98


def target_misfits(problem: Problem, share: Tensor) -> Tensor:
    """Misfits short of the gate for shares in [0, 1], of the same shape."""
    return SHORT_OF_GATE * problem.gates.rmse * share


def distinct(values: Tensor) -> tuple[Tensor, Tensor]:
    """Of rows ``(count, size)`` the indices of those that differ, and for each row which of them it equals."""
    rows, which = torch.unique(values, dim=0, return_inverse=True)
    every = torch.arange(len(values), device=values.device)
    first = torch.full_like(every[: len(rows)], len(values)).scatter_reduce(0, which, every, "amin")
    return first, which


def refine_draws(
    problem: Problem, x: Tensor, y: Tensor, check: Check, steps: int, generator: torch.Generator, exact: bool
) -> tuple[Tensor, int]:
    """Pull draws towards their condition by Levenberg-Marquardt on the parameters.

    On a continuum (``exact=False``) valid draws are left alone, and the others are pulled only to a random misfit
    below the gate: pulling all to zero would shrink what they cover to the exact solutions. Where solutions are
    separate (``exact=True``) every draw goes to zero misfit, since only then copies of one solution can be told
    from different solutions. A draw that would become worse stays as it was.

    Args:
        problem: gives f, space and gates.
        x: draws ``(batch, draws, *x_shape)``.
        y: conditions ``(batch, *y_shape)``.
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
    condition, draw = chosen.nonzero(as_tuple=True)
    target = None
    if not exact:
        share = torch.rand(len(draw), generator=generator, device=generator.device).to(x)
        target = target_misfits(problem, share)
    before, wanted = x[condition, draw], y[condition]
    theta = problem.space.encode(before)
    if exact:
        # a categorical latent has one solution for each component, drawn again and again
        first, copies = distinct(torch.cat([condition.unsqueeze(1).to(theta), theta], dim=1))
        refined = refine(problem, theta[first], wanted[first], steps)
        refined = refined._replace(theta=refined.theta[copies], misfit=refined.misfit[copies])
    else:
        refined = refine(problem, theta, wanted, steps, target)
    after = problem.space.decode(refined.theta)
    # a draw may be valid though the space cannot represent it, as a bent line; what the space makes of it is taken
    # only if it is no worse
    still = problem.check(after.unsqueeze(1), wanted).valid[:, 0]
    worse = check.valid[condition, draw] & (~still | (refined.misfit > check.misfit[condition, draw]))
    result = x.clone()
    result[condition, draw] = torch.where(worse.view(-1, *[1] * (before.dim() - 1)), before, after)
    return result, refined.evaluations + len(after)
