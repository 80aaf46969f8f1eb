"""Reference sets: (near-)exhaustive valid solutions of a condition, found without any network."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from cvae.archives import cached, save
from cvae.inversion.exact import phase_conditions, phase_solutions
from cvae.inversion.refinement import disturbed, refine, scaled_jacobian
from cvae.metrics import exchange
from cvae.seeds import Purpose, stream
from cvae.tasks import Problem

log = logging.getLogger(__name__)
Item = TypeVar("Item")

#: of the search; counts up when its results change, so that no cache serves old ones
VERSION = 6
SIMULATIONS = 2_000_000
#: simulated at once of two lines of 50 points, fewer of longer or more lines
BLOCK = 50_000
#: solutions kept of a continuum, of which the best choice is what draws are compared with
KEPT = 20_000
#: how often copies of the accepted solutions are disturbed and refined, at most, where simulations do not give enough
ROUNDS = 10
#: how often, and with how many copies of each of its solutions, a choice is polished
POLISHES, COPIES = 10, 30
#: seconds between two lines on how far a search is
EVERY = 10.0
#: an isolated solution is known to this distance (RMS over parameters, as shares of their ranges)
SEPARATION = 0.01
#: an isolated solution has a misfit below this share of the gate; others pass the gate without being solutions
EXACT = 0.002


class ReferenceSet(NamedTuple):
    """Reference solutions of one condition.

    Attributes:
        theta: parameters ``(count, parameters)``.
        finite: whether the exact solutions are isolated points, all of which are listed; otherwise they form a
            continuum, of which this is a sample of everything that passes the gates.
        y: the condition, ``(*y_shape)``; None where it is not known.
    """

    theta: Tensor
    finite: bool
    y: Tensor | None = None


class Budget(NamedTuple):
    """How much is spent on reference sets.

    Attributes:
        simulations: simulated solutions; made block by block, so memory does not grow with them.
        starts: simulations that are refined for a condition with isolated solutions; a tenth of them for one of a
            continuum of which none is accepted.
        kept: reference solutions kept for each condition of a continuum; half of them where simulations give fewer,
            since refinement costs more, and a thin set needs fewer.
    """

    simulations: int = SIMULATIONS
    starts: int = 2_000
    kept: int = KEPT


BUDGET = Budget()


def reference_sets(
    problem: Problem, y: Tensor, seed: int = 0, budget: Budget = BUDGET, known: Tensor | None = None
) -> list[ReferenceSet]:
    """Reference solutions of every condition, (near-)exhaustively.

    Sines and cosines of linear combinations of the variables are enumerated exactly. Otherwise, where solutions form a
    continuum: simulations that pass the gates, completed by disturbed and refined copies of them where these are few;
    where they are isolated: the nearest simulations, refined to zero misfit, merged.

    Args:
        problem: what is to be inverted.
        y: conditions ``(count, *y_shape)``.
        seed: of the simulations.
        budget: how much is spent.
        known: one solution of each condition, parameters ``(count, parameters)``; the exact enumeration starts from it.
    """
    phases = phase_conditions(problem) if known is not None else None
    finite = has_isolated_solutions(problem, seed)
    if finite and phases is not None and known is not None:
        return [
            ReferenceSet(phase_solutions(problem.space, phases, one), True, target)
            for one, target in zip(known, y, strict=True)
        ]
    accept, near = (0, budget.starts) if finite else (budget.kept, budget.starts // 10)
    found = search_simulations(problem, y, accept, near, stream(Purpose.REFERENCE_POOL, seed), budget.simulations)
    sets = []
    each = zip(y, found.accepted, found.nearest, strict=True)
    for target, accepted, nearest in told(each, len(y), "conditions whose solutions are refined"):
        if finite:
            sets.append(ReferenceSet(_isolated(problem, nearest, target), True, target))
            continue
        theta = _completed(problem, accepted, nearest, target, budget.kept // 2, seed)
        sets.append(ReferenceSet(theta, False, target))
    return sets


class Found(NamedTuple):
    """Simulations for each condition: parameters ``(count, parameters)`` of those that pass the gates, and of those
    with the smallest misfit."""

    accepted: list[Tensor]
    nearest: list[Tensor]


@torch.no_grad()
def search_simulations(
    problem: Problem, y: Tensor, accept: int, near: int, generator: torch.Generator, simulations: int
) -> Found:
    """Search simulations, block by block, for solutions of every condition.

    The squared misfit against all conditions is one matrix product per block, ``|f|^2 - 2 f.y + |y|^2``; what is below
    the gate by it is then checked exactly.

    Args:
        problem: what is to be inverted.
        y: conditions ``(count, *y_shape)``.
        accept: accepted solutions at which the search for a condition ends; 0 looks for the nearest alone.
        near: how many of the nearest to keep.
        generator: source of the simulations.
        simulations: how many at most.
    """
    accepted = [y.new_zeros(0, problem.space.parameters) for _ in y]
    near = min(near, simulations)
    misfit, nearest = y.new_full((len(y), near), torch.inf), y.new_zeros(len(y), near, problem.space.parameters)
    # a little above the gate, for what rounding does to the difference of large squares
    rounding = 16 * torch.finfo(y.dtype).eps * float(y.flatten(1).square().mean(-1).max())
    gate = problem.gates.rmse**2 * 1.01 + 1e-6 * min(1.0, problem.gates.rmse**2) + rounding
    blocks = _simulated(problem, generator, simulations, y.device)
    count = math.ceil(simulations / _block(problem))
    for theta, values in told(blocks, count, "blocks of simulations searched"):
        open_ones = [index for index in range(len(y)) if accept == 0 or len(accepted[index]) < accept]
        if not open_ones:
            break
        squares = _squared_misfits(problem, values, y[open_ones])
        if accept:
            for column, index in enumerate(open_ones):
                passed = _accepted(problem, theta[squares[:, column] < gate], y[index])
                accepted[index] = torch.cat([accepted[index], passed])[:accept]
        block, order = squares.T.topk(min(near, len(theta)), dim=1, largest=False)
        merged = torch.cat([misfit[open_ones], block], dim=1)
        best, keep = merged.topk(near, dim=1, largest=False)
        both = torch.cat([nearest[open_ones], theta[order]], dim=1)
        misfit[open_ones] = best
        nearest[open_ones] = both.gather(1, keep.unsqueeze(-1).expand(-1, -1, both.shape[-1]))
    # places that no simulation has taken are left out
    return Found(accepted, [one[found < torch.inf] for one, found in zip(nearest, misfit, strict=True)])


def _simulated(
    problem: Problem, generator: torch.Generator, count: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    done = 0
    while done < count:
        size = min(_block(problem), count - done)
        theta = problem.space.sample(size, generator).to(device)
        yield theta, problem.forward(problem.space.decode(theta))
        done += size


def _block(problem: Problem) -> int:
    """Simulations in a block."""
    numbers = max(torch.Size(problem.x_shape).numel(), torch.Size(problem.y_shape).numel(), 20)
    return max(BLOCK * 100 // numbers, 1)


def told(items: Iterable[Item], count: int, what: str) -> Iterator[Item]:
    """``items``, of which there are ``count``, with a line every few seconds on how many are done."""
    last = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - last > EVERY:
            last = time.monotonic()
            log.info("reference sets: %d of %d %s.", number, count, what)
        yield item


def _squared_misfits(problem: Problem, values: Tensor, y: Tensor) -> Tensor:
    """Largest squared RMSE over the conditions, ``(solutions, len(y))``."""
    f_of, y_of = problem.by_condition(values), problem.by_condition(y)
    worst = None
    for condition in range(y_of.shape[1]):
        # centred, so that the cancellation of large squares costs few digits
        middle = y_of[:, condition].mean(0)
        f, target = f_of[:, condition] - middle, y_of[:, condition] - middle
        squares = f.square().sum(1, keepdim=True) - 2 * f @ target.T + target.square().sum(1)
        worst = squares if worst is None else torch.maximum(worst, squares)
    assert worst is not None
    return worst.nan_to_num(nan=torch.inf).clamp_min(0) / y_of.shape[-1]


def _accepted(problem: Problem, theta: Tensor, y: Tensor) -> Tensor:
    check = problem.check(problem.space.decode(theta).unsqueeze(0), y.unsqueeze(0))
    return theta[check.valid[0]]


def _repeated(y: Tensor, count: int) -> Tensor:
    return y.expand(count, *y.shape)


def _completed(problem: Problem, accepted: Tensor, nearest: Tensor, y: Tensor, count: int, seed: int) -> Tensor:
    """Up to ``count`` solutions: accepted ones, then disturbed copies pulled to random misfits below the gate."""
    scale, noise, which = (stream(Purpose.REFERENCE_REFINEMENT, seed, kind) for kind in range(3))
    for _ in range(ROUNDS):
        missing = count - len(accepted)
        known = accepted if len(accepted) else nearest
        if missing <= 0 or len(known) == 0:
            break
        starts = known[torch.randint(len(known), (missing,), generator=which)]
        starts = disturbed(problem.space, starts, scale, noise)
        accepted = torch.cat([accepted, _refined_below_gate(problem, starts, y, 0.25, which)])
    return accepted


@torch.no_grad()
def polished(problem: Problem, chosen: Tensor, y: Tensor, draws: int, rounds: int = POLISHES) -> Tensor:
    """A choice of solutions, exchanged for disturbed copies of them wherever these cover more.

    Few simulations lie where the widest solutions do, near the gate and the border of the range; from a good choice
    they are not far.

    Args:
        problem: what is inverted.
        chosen: parameters ``(draws, parameters)``, valid for ``y``.
        y: the condition ``(*y_shape)``.
        draws: how many to choose at most.
        rounds: how often copies are made.
    """
    scale, noise, which = (stream(Purpose.REFERENCE_REFINEMENT, 0, kind) for kind in range(3, 6))
    for _ in range(rounds if len(chosen) else 0):
        copies = disturbed(problem.space, chosen.repeat(COPIES, 1), scale, noise, 0.005, 0.1)
        copies = _refined_below_gate(problem, copies, y, 0.02, which)
        chosen = torch.cat([chosen, copies])
        u = problem.space.coordinates(problem.space.decode(chosen)).unsqueeze(0)
        valid = torch.ones(u.shape[:2], dtype=torch.bool, device=u.device)
        # those that were chosen, filled up to as many as are wanted
        first = torch.arange(min(draws, len(chosen)), device=chosen.device).unsqueeze(0)
        chosen = chosen[exchange(u, valid, first, passes=1)[0]]
    return chosen


def _refined_below_gate(
    problem: Problem, starts: Tensor, y: Tensor, power: float, generator: torch.Generator
) -> Tensor:
    """Starts pulled to random misfits below the gate, the nearer to it the smaller ``power``; the valid ones."""
    share = torch.rand(len(starts), generator=generator).to(y) ** power
    target = 0.99 * problem.gates.rmse * share
    return _accepted(problem, refine(problem, starts, _repeated(y, len(starts)), 15, target).theta, y)


def _isolated(problem: Problem, starts: Tensor, y: Tensor) -> Tensor:
    """All distinct exact solutions that the starts lead to."""
    refined = refine(problem, starts, _repeated(y, len(starts)), steps=30)
    exact = is_exact(problem, refined.misfit)
    return merge(problem, refined.theta[exact], refined.misfit[exact])


def is_exact(problem: Problem, misfit: Tensor) -> Tensor:
    """Which misfits are those of exact solutions, bool of the shape of ``misfit``."""
    # refinement ends at 1e-6
    return misfit < max(EXACT * problem.gates.rmse, 2e-6)


def merge(problem: Problem, theta: Tensor, misfit: Tensor) -> Tensor:
    """One of each cluster of solutions nearer than :data:`SEPARATION`, best misfit first, ``(clusters, parameters)``.

    Args:
        problem: gives the ranges.
        theta: ``(count, parameters)``.
        misfit: ``(count,)``.
    """
    return theta[clusters(problem.space.scaled(theta), misfit)[0]]


def clusters(theta: Tensor, misfit: Tensor, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Clusters of solutions that are nearer than :data:`SEPARATION` to the best of theirs.

    Args:
        theta: parameters as shares of their ranges, ``(count, parameters)``.
        misfit: ``(count,)``.
        most: clusters at most, those of the best; None gives all.

    Returns:
        Index of the best of each cluster ``(clusters,)``, best first, and the cluster of each solution ``(count,)``, -1
        for those of none.
    """
    rest = misfit.argsort(stable=True)
    found: list[Tensor] = []
    label = torch.full_like(rest, -1)
    while len(rest) and (most is None or len(found) < most):
        far = (theta[rest] - theta[rest[0]]).square().mean(1).sqrt() > SEPARATION
        label[rest[~far]] = len(found)
        found.append(rest[:1])
        rest = rest[far]
    return torch.cat(found) if found else rest[:0], label


@torch.no_grad()
def has_isolated_solutions(problem: Problem, seed: int = 0, samples: int = 500) -> bool:
    """Whether exact solutions are isolated points rather than a continuum.

    Around a solution, all that passes the gate is roughly an ellipsoid whose longest half-axis is the gate over the
    smallest singular value of the Jacobian of f with respect to the parameters. Isolated means that it is short
    compared with the ranges for most solutions of the prior.
    """
    theta = problem.space.sample(samples, stream(Purpose.SEPARATION, seed))
    # f sees the number format that it sees everywhere else: a callable may hold constants of it
    jacobian = scaled_jacobian(problem, theta)[1].double()
    normal = (jacobian.transpose(1, 2) @ jacobian).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    smallest = torch.linalg.eigvalsh(normal)[:, 0].clamp_min(0).sqrt()
    half_axis = problem.gates.rmse * jacobian.shape[1] ** 0.5 / smallest.clamp_min(1e-12)
    return bool(half_axis.median() < 0.5)


def cached_reference_sets(
    problem: Problem,
    y: Tensor,
    folder: str | Path | None,
    known: Tensor | None = None,
    budget: Budget = BUDGET,
) -> list[ReferenceSet]:
    """:func:`reference_sets`, kept on disk under a hash of the problem, the conditions and the budget.

    Args:
        problem, y, known, budget: as for :func:`reference_sets`.
        folder: where to keep them; None keeps nothing.
    """
    if folder is None:
        return reference_sets(problem, y, known=known, budget=budget)
    path = cache_path(folder, "reference", f"{problem.digest} {known is None} {tuple(budget)}", [y])
    stored = cached(path, lambda content: _fits(content, y, problem))
    if stored is None:
        text = "searching reference sets of %d conditions, which draws are compared with; kept in %s."
        log.info(text, len(y), folder)
        sets = reference_sets(problem, y, known=known, budget=budget)
        stored = [(reference.theta.cpu(), reference.finite) for reference in sets]
        save(path, stored)
    each = zip(stored, y, strict=True)
    return [ReferenceSet(theta.to(y.device), finite, target) for (theta, finite), target in each]


def cache_path(folder: str | Path, name: str, words: str, tensors: Iterable[Tensor]) -> Path:
    """Where something is kept that follows from ``words`` and ``tensors``."""
    key = hashlib.sha256(f"{VERSION} {words}".encode())
    for tensor in tensors:
        key.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return Path(folder) / f"{name}-{key.hexdigest()[:24]}.pt"


def _fits(content: Any, y: Tensor, problem: Problem) -> bool:
    """Whether a file holds a reference set of each of the conditions ``y``."""
    return len(content) == len(y) and all(
        isinstance(finite, bool)
        and theta.dtype == y.dtype
        and theta.shape == (len(theta), problem.space.parameters)
        and bool(theta.isfinite().all() and problem.space.in_range(problem.space.decode(theta)).all())
        for theta, finite in content
    )
