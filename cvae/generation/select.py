"""The selection stage: of many draws the few that show most of the solution set."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.inversion import clusters, is_exact
from cvae.metrics import Check, best_cover, greedy_cover
from cvae.tasks import Problem

#: clusters of exact solutions that are looked for at most; each costs a pass over all draws
MANY = 1_000


def select_cover(problem: Problem, x: Tensor, check: Check, count: int) -> Tensor:
    """Of a continuum: the draws that cover most together, valid ones first.

    Args:
        problem: gives the space.
        x: draws ``(batch, draws, *x_shape)``.
        check: of the draws.
        count: how many to keep.

    Returns:
        Indices ``(batch, count)``.
    """
    return best_cover(problem.space.coordinates(x), check.valid, count)


def select_unchecked(problem: Problem, x: Tensor, count: int) -> Tensor:
    """Of a continuum: the draws that cover most together, without asking f; those first that pass the other gates.

    Args:
        problem: gives the space and the gates.
        x: draws ``(batch, draws, *x_shape)``.
        count: how many to keep.

    Returns:
        ``(batch, count, *x_shape)``, in the order of the draws.
    """
    chosen = best_cover(problem.space.coordinates(x), problem.is_allowed(x), count).sort(1).values
    return x[torch.arange(len(x), device=x.device).unsqueeze(1), chosen]


def select_separate(problem: Problem, x: Tensor, check: Check, count: int) -> Tensor:
    """Of separate solutions: one draw of each exact solution, then what is left, by what it adds to the coverage.

    If there are more than ``count`` solutions, those that cover most together are kept. Arguments and result as for
    :func:`select_cover`.
    """
    exact = check.valid & is_exact(problem, check.misfit)
    u, theta = problem.space.coordinates(x), problem.space.scaled(problem.space.encode(x))
    rows = []
    for one in range(len(x)):
        first = _representatives(theta[one], check.misfit[one], exact[one], max(MANY, count))
        kept = first
        if len(first) > count:
            everything = torch.ones(1, len(first), dtype=torch.bool, device=x.device)
            kept = first[greedy_cover(u[one, first].unsqueeze(0), everything, count)[0]]
        if len(kept) < count:
            rest = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
            rest[kept] = False
            others = rest.nonzero().squeeze(1)
            valid = check.valid[one, others].unsqueeze(0)
            kept = torch.cat([kept, others[greedy_cover(u[one, others].unsqueeze(0), valid, count - len(kept))[0]]])
        rows.append(kept)
    return torch.stack(rows)


def _representatives(theta: Tensor, misfit: Tensor, exact: Tensor, most: int) -> Tensor:
    """Index of the best draw of each cluster of exact solutions, of the ``most`` best clusters.

    Args:
        theta: parameters as shares of their ranges, ``(draws, parameters)``.
        misfit, exact: ``(draws,)``.
        most: how many clusters at most.
    """
    which = exact.nonzero().squeeze(1)
    return which[clusters(theta[which], misfit[which], most)[0]]
