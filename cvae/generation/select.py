"""The selection stage: of many draws the few that show most of the solution set."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.coverage import ROWS, compact_rows
from cvae.metrics.coverage_limit import greedy_cover, shared
from cvae.problems import Check, Problem

#: solutions nearer than this (RMS over endpoints, as a share of the range) are one solution
SEPARATION = 0.01
#: a draw is an exact solution if its misfit is below this share of the gate; others pass without being solutions
EXACT = 0.05
#: clusters of exact solutions that are looked for at most; each costs a pass over all draws
MANY = 1_000
#: how often each of a greedy choice is reconsidered
EXCHANGES = 2


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
    chosen = greedy_cover(x, check.valid, count, problem.geometry.range)
    return exchange(x, check.valid, chosen, problem.geometry.range)


def exchange(
    x: Tensor, valid: Tensor, chosen: Tensor, value_range: tuple[float, float], passes: int = EXCHANGES
) -> Tensor:
    """Improve a choice by exchanging one draw at a time for the one that then adds most.

    The first of a greedy choice are made without knowing the last, so some can be replaced; coverage never falls.

    Args:
        x: draws ``(batch, draws, lines, points)``.
        valid: bool ``(batch, draws)``; an invalid draw is never taken in.
        chosen: indices ``(batch, count)``.
        value_range: lowest and highest value of the raster.
        passes: how often each is reconsidered.

    Returns:
        Indices ``(batch, count)``, all different.
    """
    batch = len(valid)
    every = torch.arange(batch, device=x.device)
    row = compact_rows(x, value_range)
    columns = torch.arange(row.shape[2], device=x.device)
    chosen = chosen.clone()
    taken = torch.zeros_like(valid).scatter_(1, chosen, True)
    # how many of the chosen sweep each cell, and how many cells each draw has that none of them sweeps
    swept = torch.zeros(batch, row.shape[2], ROWS, dtype=torch.int16, device=x.device)
    free = torch.full(valid.shape, row.shape[2], dtype=torch.int64, device=x.device)

    def change(draw: Tensor, by: int) -> None:
        """Take draws ``(batch,)`` in or out; only cells that become, or no longer are, the first's matter."""
        cells = row[every, draw]
        at = (every.unsqueeze(1), columns, cells.long())
        before = swept[at]
        swept[at] = before + by
        free.sub_(by * shared(row, cells, before + min(by, 0) == 0))

    for place in range(chosen.shape[1]):
        change(chosen[:, place], 1)
    for _ in range(passes):
        for place in range(chosen.shape[1]):
            old = chosen[:, place]
            change(old, -1)
            taken[every, old] = False
            gain = torch.where(valid & ~taken, free, -1)
            best = gain.argmax(1)
            # an equal is no reason to change
            best = torch.where(gain[every, best] > free[every, old], best, old)
            chosen[:, place] = best
            change(best, 1)
            taken[every, best] = True
    return chosen


def select_separate(problem: Problem, x: Tensor, check: Check, count: int) -> Tensor:
    """Of separate solutions: one draw of each exact solution, then what is left, by what it adds to the coverage.

    If there are more than ``count`` solutions, those that cover most together are kept. Arguments and result as for
    :func:`select_cover`.
    """
    exact = check.valid & (check.misfit < EXACT * problem.gates.rmse)
    endpoints = problem.geometry.to_endpoints(x).flatten(2) / problem.geometry.span
    rows = []
    for one in range(len(x)):
        first = _representatives(endpoints[one], check.misfit[one], exact[one], max(MANY, count))
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


def _representatives(endpoints: Tensor, misfit: Tensor, exact: Tensor, most: int) -> Tensor:
    """Index of the best draw of each cluster of exact solutions, of the ``most`` best clusters."""
    rest = exact.nonzero().squeeze(1)
    rest = rest[misfit[rest].argsort(stable=True)]
    found: list[Tensor] = []
    while len(rest) and len(found) < most:
        found.append(rest[:1])
        distance = (endpoints[rest] - endpoints[rest[0]]).square().mean(1).sqrt()
        rest = rest[distance > SEPARATION]
    return torch.cat(found) if found else rest
