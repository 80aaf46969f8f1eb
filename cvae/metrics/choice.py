"""The choice of a few draws that cover most together."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.draws import BINS, compact_bins
from cvae.sampling import chunk_size, chunks

#: how often each of a greedy choice is reconsidered
EXCHANGES = 2


def shared(found: Tensor, other: Tensor, counted: Tensor) -> Tensor:
    """In how many of some coordinates each draw has the same bin as another, ``(batch, draws)``.

    Args:
        found: bins of all draws, ``(batch, draws, coordinates)``, see :func:`cvae.metrics.draws.compact_bins`.
        other: bins of one draw for each condition, ``(batch, coordinates)``.
        counted: which coordinates count, bool ``(batch, coordinates)``.
    """
    size = found.shape[2]
    result = torch.empty(found.shape[:2], dtype=torch.int64, device=found.device)
    # a bin that no draw has, in the coordinates that do not count
    wanted = torch.where(counted, other, torch.iinfo(found.dtype).max).unsqueeze(1)
    # summed in the smallest integers that hold the result: three times as fast
    small = torch.uint8 if size < 256 else torch.int32
    for some, part in chunks(found.shape[0], found.shape[1], chunk_size(found.device, size)):
        result[some, part] = (found[some, part] == wanted[some]).view(torch.uint8).sum(-1, dtype=small)
    return result


def best_cover(u: Tensor, valid: Tensor, count: int) -> Tensor:
    """The best choice known of ``count`` of many draws: a greedy one, improved by exchanges.

    Arguments and result as for :func:`greedy_cover`.
    """
    return exchange(u, valid, greedy_cover(u, valid, count))


def greedy_cover(u: Tensor, valid: Tensor, count: int, bins: int = BINS) -> Tensor:
    """Choose ``count`` of many draws so that together they hit as many bins as a greedy choice can.

    Each step takes the draw that adds the most bins, the first of equals (Nemhauser et al. 1978: at least
    1 - 1/e of the optimum). Valid draws are taken before invalid ones.

    Args:
        u: coordinates of draws as shares of their ranges, ``(batch, draws, coordinates)``.
        valid: bool ``(batch, draws)``.
        count: how many to choose.
        bins: bins over each range.

    Returns:
        Indices ``(batch, count)``, all different; fewer columns if there are fewer draws.
    """
    batch, draws, size = u.shape
    every = torch.arange(batch, device=u.device)
    found = compact_bins(u, bins)
    uncovered = torch.ones(batch, size, bins, dtype=torch.bool, device=u.device)
    coordinates = torch.arange(size, device=u.device)
    gain = torch.full((batch, draws), size, dtype=torch.int64, device=u.device)
    # invalid draws only after all valid ones, draws that were taken never again
    gain -= torch.where(valid, 0, size + 1)
    chosen = []
    for _ in range(min(count, draws)):
        best = gain.argmax(1)
        chosen.append(best)
        taken = found[every, best]
        at = (every.unsqueeze(1), coordinates, taken.long())
        new = uncovered[at]
        uncovered[at] = False
        # every draw that shares a newly covered bin would now add one bin less
        gain -= shared(found, taken, new)
        gain[every, best] = -(10**9)
    return torch.stack(chosen, dim=1)


def exchange(u: Tensor, valid: Tensor, chosen: Tensor, passes: int = EXCHANGES) -> Tensor:
    """Improve a choice by exchanging one draw at a time for the one that then adds most.

    The first of a greedy choice are made without knowing the last, so some can be replaced; coverage never falls.

    Args:
        u: coordinates of draws as shares of their ranges, ``(batch, draws, coordinates)``.
        valid: bool ``(batch, draws)``; an invalid draw is never taken in.
        chosen: indices ``(batch, count)``.
        passes: how often each is reconsidered.

    Returns:
        Indices ``(batch, count)``, all different.
    """
    batch, _, size = u.shape
    every = torch.arange(batch, device=u.device)
    found = compact_bins(u)
    coordinates = torch.arange(size, device=u.device)
    chosen = chosen.clone()
    taken = torch.zeros_like(valid).scatter_(1, chosen, True)
    # how many of the chosen hit each bin, and how many bins each draw has that none of them hits
    hits = torch.zeros(batch, size, BINS, dtype=torch.int16, device=u.device)
    free = torch.full(valid.shape, size, dtype=torch.int64, device=u.device)

    def change(draw: Tensor, by: int) -> None:
        """Take draws ``(batch,)`` in or out; only bins that become, or no longer are, the first's matter."""
        bins = found[every, draw]
        at = (every.unsqueeze(1), coordinates, bins.long())
        before = hits[at]
        hits[at] = before + by
        free.sub_(by * shared(found, bins, before + min(by, 0) == 0))

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
