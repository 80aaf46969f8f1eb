"""The selection stage: of many draws the few that show most of the solution set."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.coverage_limit import greedy_cover
from cvae.problems import Check, Problem

#: solutions nearer than this (RMS over endpoints, as a share of the range) are one solution
SEPARATION = 0.01
#: a draw is an exact solution if its misfit is below this share of the gate; others pass without being solutions
EXACT = 0.05


def select_cover(problem: Problem, x: Tensor, check: Check, count: int) -> Tensor:
    """Of a continuum: the draws that cover most together, valid ones first.

    Args:
        problem: gives the range.
        x: draws ``(batch, draws, lines, points)``.
        check: of the draws.
        count: how many to keep.

    Returns:
        Indices ``(batch, count)``.
    """
    return greedy_cover(x, check.valid, count, problem.geometry.range)


def select_separate(problem: Problem, x: Tensor, check: Check, count: int) -> Tensor:
    """Of separate solutions: one draw of each exact solution, then what is left, by what it adds to the coverage.

    If there are more than ``count`` solutions, those that cover most together are kept. Arguments and result as for
    :func:`select_cover`.
    """
    exact = check.valid & (check.misfit < EXACT * problem.gates.rmse)
    endpoints = problem.geometry.to_endpoints(x).flatten(2) / problem.geometry.span
    rows = []
    for one in range(len(x)):
        first = _representatives(endpoints[one], check.misfit[one], exact[one])
        kept = first
        if len(first) > count:
            everything = torch.ones(1, len(first), dtype=torch.bool, device=x.device)
            kept = first[greedy_cover(x[one, first].unsqueeze(0), everything, count, problem.geometry.range)[0]]
        if len(kept) < count:
            rest = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
            rest[kept] = False
            others = rest.nonzero().squeeze(1)
            fill = greedy_cover(
                x[one, others].unsqueeze(0), check.valid[one, others].unsqueeze(0), count - len(kept),
                problem.geometry.range,
            )[0]  # fmt: skip
            kept = torch.cat([kept, others[fill]])
        rows.append(kept)
    return torch.stack(rows)


def _representatives(endpoints: Tensor, misfit: Tensor, exact: Tensor) -> Tensor:
    """Index of the best draw of each cluster of exact solutions."""
    rest = exact.nonzero().squeeze(1)
    rest = rest[misfit[rest].argsort(stable=True)]
    found = []
    while len(rest):
        found.append(rest[:1])
        distance = (endpoints[rest] - endpoints[rest[0]]).square().mean(1).sqrt()
        rest = rest[distance > SEPARATION]
    return torch.cat(found) if found else rest
