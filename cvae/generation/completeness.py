"""How complete a generated set is, told from the candidates alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cvae.generation.refine import distinct
from cvae.generation.select import MANY
from cvae.inversion import clusters, is_exact
from cvae.metrics import Check, best_cover, coverage
from cvae.tasks import Problem


def good_turing(counts: Tensor, candidates: Tensor) -> Tensor:
    """Probability that the next candidate is a solution not seen before, a number: singletons / candidates.

    Good 1953, "The population frequencies of species and the estimation of population parameters"; 1 where none has
    found any.

    Args:
        counts: how often each solution was found, ``(solutions,)``.
        candidates: how many have found a solution, a number.
    """
    return torch.where(candidates > 0, (counts == 1).sum() / candidates.clamp_min(1), 1.0)


def chao(counts: Tensor) -> Tensor:
    """Number of solutions that no candidate has found, a number.

    ``f1**2 / (2 f2)`` from those found once and twice (Chao 1984, "Nonparametric estimation of the number of classes in
    a population"), a lower bound if candidates find solutions independently; where none was found twice the
    bias-corrected ``f1 (f1 - 1) / 2`` (Chao 2005, "Species estimation and applications").

    Args:
        counts: how often each solution was found, ``(solutions,)``.
    """
    once, twice = (counts == 1).sum().float(), (counts == 2).sum()
    return torch.where(twice > 0, once.square() / (2 * twice.clamp_min(1)), once * (once - 1).clamp_min(0) / 2)


def firsts(theta: Tensor) -> Tensor:
    """Which of candidates ``(count, parameters)`` are the first of those that equal them, bool ``(count,)``."""
    first, _ = distinct(theta)
    return torch.zeros(len(theta), dtype=torch.bool, device=theta.device).index_fill(0, first, True)


def recapture(drawn: Tensor, explored: Tensor) -> Tensor:
    """Number of solutions that neither of two searches has found, a number.

    From those that one alone has found, ``a`` and ``b``, and those that both have, ``a b / both`` (Petersen 1896,
    Lincoln 1930, of animals that are marked, released and caught again): right if one search finds what the other has
    found as often as what it has not. A search itself need not be fair.

    Args:
        drawn, explored: how often each solution was found by either, ``(solutions,)``.
    """
    one, other = drawn > 0, explored > 0
    return (one & ~other).sum() * (other & ~one).sum() / (one & other).sum().clamp_min(1)


class Counts(NamedTuple):
    """What the candidates of one condition have found.

    Attributes:
        drawn, explored: how often draws of the network, and explored copies, have found each solution,
            ``(solutions,)``.
        candidates: number of different candidates that have found one.
    """

    drawn: Tensor
    explored: Tensor
    candidates: Tensor


def count_solutions(problem: Problem, x: Tensor, check: Check, tells: Tensor, drawn: int) -> Counts:
    """Count what the candidates of one condition have found.

    Args:
        problem: gives space and gates.
        x: candidates ``(count, *x_shape)``, refined.
        check: of the candidates, fields ``(count, ...)``.
        drawn: how many of them the network has drawn, the first ones.
        tells: bool ``(count, 2)``: which are no copies of another, and which of those tell how often a solution is
            found; one that only others have found is found 0 times.
    """
    exact = check.valid & is_exact(problem, check.misfit)
    theta = problem.space.scaled(problem.space.encode(x[exact]))
    first, label = clusters(theta, check.misfit[exact], MANY)
    counted = tells[exact, 1] & (label >= 0)
    by_network = exact.nonzero().squeeze(1) < drawn
    return Counts(
        torch.bincount(label[counted & by_network], minlength=len(first)),
        torch.bincount(label[counted & ~by_network], minlength=len(first)),
        (exact & tells[:, 0]).sum(),
    )


def unseen_share(counts: Counts) -> Tensor:
    """Estimated share of the solutions that no candidate has found, a number; 1 where nothing was found.

    That of :func:`recapture`; where one of the two searches has found nothing, so that they cannot be compared, the
    probability of :func:`good_turing`.
    """
    together = counts.drawn + counts.explored
    missing = recapture(counts.drawn, counts.explored)
    share = missing / (missing + len(together)).clamp_min(1)
    both = (counts.drawn > 0).any() & (counts.explored > 0).any()
    return torch.where(both, share, _told(together, good_turing(together, counts.candidates)))


def unseen_at_most(counts: Counts) -> Tensor:
    """A cautious :func:`unseen_share`: one that is hardly ever too low for a single condition, and often too high.

    That of :func:`chao`, but no less than the probability of :func:`good_turing`: what has not been found is rarer than
    the rest, so its share of the solutions is no smaller than its probability.
    """
    together = counts.drawn + counts.explored
    missing = chao(together)
    share = missing / (missing + len(together)).clamp_min(1)
    return _told(together, torch.maximum(share, good_turing(together, counts.candidates)))


def _told(counts: Tensor, share: Tensor) -> Tensor:
    """``share``, but 1 where no candidate tells anything."""
    return torch.where((counts > 0).any(), share, torch.ones_like(share))


def coverage_gain(u: Tensor, valid: Tensor, chosen: Tensor) -> Tensor:
    """Share of the coverage of a choice that the last half of the candidates brought, ``(batch,)``.

    One minus the coverage of the best choice of as many from the first half over that of the choice from all. What
    twice as many candidates would add is usually less. nan without a valid candidate.

    Args:
        u: coordinates of the candidates as shares of their ranges, ``(batch, candidates, coordinates)``.
        valid: bool ``(batch, candidates)``.
        chosen: indices of the choice from all, ``(batch, draws)``.
    """
    half, count = u.shape[1] // 2, chosen.shape[1]
    early = torch.arange(half, device=u.device).expand(len(u), -1)
    if half > count:
        early = best_cover(u[:, :half], valid[:, :half], count)
    return 1 - _covered(u, valid, early) / _covered(u, valid, chosen)


def _covered(u: Tensor, valid: Tensor, chosen: Tensor) -> Tensor:
    every = torch.arange(len(u), device=u.device).unsqueeze(1)
    return coverage(u[every, chosen], valid[every, chosen])
