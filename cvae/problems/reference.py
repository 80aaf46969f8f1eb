"""Reference sets: (near-)exhaustive valid solutions of a condition, found without any network."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.files import replacing
from cvae.problems.exact import phase_conditions, phase_solutions
from cvae.problems.problem import Problem
from cvae.problems.refinement import jacobian_of, refine
from cvae.seeds import stream

log = logging.getLogger(__name__)

#: of the search; counts up when its results change, so that no cache serves old ones
VERSION = 3
POOL = 2_000_000
#: simulated at once of two lines of 50 points, fewer of longer or more lines
BLOCK = 50_000
#: key of the random numbers of reference sets
REFERENCE = 7
#: solutions kept of a continuum; the limit that a greedy choice of 30 reaches still grows slowly with it
KEPT = 4_000
#: an isolated solution is known to this distance (RMS over endpoints, as a share of the range)
SEPARATION = 0.01


class ReferenceSet(NamedTuple):
    """Reference solutions of one condition.

    Attributes:
        endpoints: ``(count, lines, 2)``.
        finite: whether the exact solutions are isolated points, all of which are listed; otherwise they form a
            continuum, of which this is a sample of everything that passes the gates.
    """

    endpoints: Tensor
    finite: bool


def reference_sets(
    problem: Problem,
    y: Tensor,
    seed: int = 0,
    pool: int = POOL,
    starts: int = 2_000,
    kept: int = KEPT,
    known: Tensor | None = None,
) -> list[ReferenceSet]:
    """Reference solutions of every condition, exhaustively.

    Sines and cosines of linear combinations of the lines are enumerated exactly. Otherwise, where solutions form a
    continuum: members of a large simulated pool that pass the gates, completed by refined starts where it holds few;
    where they are isolated: the nearest members of the pool, refined to zero misfit, merged.

    Args:
        problem: what is to be inverted.
        y: conditions ``(count, conditions, points)``.
        seed: of the pool.
        pool: simulated solutions; made block by block, so memory does not grow with it.
        starts: pool members that are refined for a condition with isolated solutions or few accepted ones.
        kept: reference solutions kept for each condition of a continuum.
        known: one solution of each condition, endpoints ``(count, lines, 2)``; the exact enumeration starts from it.
    """
    phases = phase_conditions(problem) if known is not None else None
    finite = has_isolated_solutions(problem, seed)
    if finite and phases is not None and known is not None:
        return [ReferenceSet(phase_solutions(problem.geometry, phases, one), True) for one in known]
    found = search_pool(problem, y, 0 if finite else kept, starts if finite else starts // 10, seed, pool)
    sets = []
    for target, accepted, nearest in zip(y, found.accepted, found.nearest, strict=True):
        if finite:
            sets.append(ReferenceSet(_isolated(problem, nearest, target), True))
            continue
        if len(accepted) < kept // 20:
            accepted = torch.cat([accepted, _completed(problem, nearest, target, seed)])
        sets.append(ReferenceSet(accepted, False))
    return sets


class Found(NamedTuple):
    """Members of a simulated pool for each condition: endpoints ``(count, lines, 2)`` of those that pass the gates,
    and of those with the smallest misfit."""

    accepted: list[Tensor]
    nearest: list[Tensor]


@torch.no_grad()
def search_pool(
    problem: Problem, y: Tensor, accept: int, near: int, seed: int, pool: int = POOL, purpose: int = REFERENCE
) -> Found:
    """Search a simulated pool, block by block, for solutions of every condition.

    The squared misfit against all conditions is one matrix product per block, ``|f|^2 - 2 f.y + |y|^2``; what is below
    the gate by it is then checked exactly.

    Args:
        problem, y, seed, pool: as for :func:`reference_sets`.
        accept: accepted solutions at which the search for a condition ends; 0 looks for the nearest alone.
        near: how many of the nearest to keep.
        purpose: further key of the pool's random numbers, so that no pool holds members of another.
    """
    shape = (problem.geometry.lines, 2)
    accepted = [y.new_zeros(0, *shape) for _ in y]
    near = min(near, pool)
    misfit, nearest = y.new_full((len(y), near), torch.inf), y.new_zeros(len(y), near, *shape)
    # a little above the gate, for what rounding does to the difference of large squares
    rounding = 16 * torch.finfo(y.dtype).eps * float(y.square().mean(-1).max())
    gate = problem.gates.rmse**2 * 1.01 + 1e-6 + rounding
    for endpoints, values in _pool(problem, stream(seed, purpose), pool, y.device):
        open_ones = [index for index in range(len(y)) if accept == 0 or len(accepted[index]) < accept]
        if not open_ones:
            break
        squares = _squared_misfits(values, y[open_ones])
        if accept:
            for column, index in enumerate(open_ones):
                passed = _accepted(problem, endpoints[squares[:, column] < gate], y[index])
                accepted[index] = torch.cat([accepted[index], passed])[:accept]
        block, order = squares.T.topk(min(near, len(endpoints)), dim=1, largest=False)
        merged = torch.cat([misfit[open_ones], block], dim=1)
        best, keep = merged.topk(near, dim=1, largest=False)
        both = torch.cat([nearest[open_ones], endpoints[order]], dim=1)
        misfit[open_ones] = best
        nearest[open_ones] = both.gather(1, keep[..., None, None].expand(-1, -1, *shape))
    # places that no member of the pool has taken are left out
    return Found(accepted, [one[found < torch.inf] for one, found in zip(nearest, misfit, strict=True)])


def _pool(
    problem: Problem, generator: torch.Generator, pool: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    block = max(BLOCK * 100 // (problem.geometry.lines * problem.geometry.points), 1)
    done = 0
    while done < pool:
        size = min(block, pool - done)
        endpoints = problem.geometry.sample(size, generator).to(device)
        yield endpoints, problem.forward(problem.geometry.to_lines(endpoints))
        done += size


def _squared_misfits(values: Tensor, y: Tensor) -> Tensor:
    """Largest squared RMSE over the conditions, ``(solutions, len(y))``."""
    worst = None
    for condition in range(y.shape[1]):
        # centred, so that the cancellation of large squares costs few digits
        middle = y[:, condition].mean(0)
        f, target = values[:, condition] - middle, y[:, condition] - middle
        squares = f.square().sum(1, keepdim=True) - 2 * f @ target.T + target.square().sum(1)
        worst = squares if worst is None else torch.maximum(worst, squares)
    assert worst is not None
    return worst.nan_to_num(nan=torch.inf).clamp_min(0) / y.shape[-1]


def _accepted(problem: Problem, endpoints: Tensor, y: Tensor) -> Tensor:
    check = problem.check(problem.geometry.to_lines(endpoints).unsqueeze(0), y.unsqueeze(0))
    return endpoints[check.valid[0]]


def _completed(problem: Problem, starts: Tensor, y: Tensor, seed: int) -> Tensor:
    """Starts pulled to random misfits below the gate: a sample of a thin accepted set."""
    repeated = y.expand(len(starts), -1, -1)
    target = torch.rand(len(starts), generator=stream(seed, 8)).to(y) * problem.gates.rmse
    return _accepted(problem, refine(problem, starts, repeated, steps=30, target=target).endpoints, y)


def _isolated(problem: Problem, starts: Tensor, y: Tensor) -> Tensor:
    """All distinct exact solutions that the starts lead to."""
    refined = refine(problem, starts, y.expand(len(starts), -1, -1), steps=30)
    exact = refined.misfit < 0.002 * problem.gates.rmse
    return merge(refined.endpoints[exact], refined.misfit[exact], SEPARATION * problem.geometry.span)


def merge(endpoints: Tensor, misfit: Tensor, separation: float) -> Tensor:
    """One of each cluster of solutions nearer than ``separation`` (RMS over endpoints), best misfit first."""
    rest = endpoints[misfit.argsort(stable=True)]
    found = []
    while len(rest):
        found.append(rest[0])
        rest = rest[(rest - rest[0]).square().mean((1, 2)).sqrt() > separation]
    return torch.stack(found) if found else endpoints[:0]


@torch.no_grad()
def has_isolated_solutions(problem: Problem, seed: int = 0, samples: int = 500) -> bool:
    """Whether exact solutions are isolated points rather than a continuum.

    Around a solution, all that passes the gate is roughly an ellipsoid whose longest half-axis is the gate over the
    smallest singular value of the Jacobian of f with respect to the endpoints. Isolated means that it is short against
    the range for most solutions of the prior.
    """
    endpoints = problem.geometry.sample(samples, stream(seed, 10))
    flat = endpoints.flatten(1)

    def curves(values: Tensor) -> Tensor:
        return problem.forward(problem.geometry.to_lines(values.view(-1, problem.geometry.lines, 2))).flatten(1)

    # f sees the number format that it sees everywhere else: a callable may hold constants of it
    jacobian = jacobian_of(curves, flat)[1].double()
    normal = (jacobian.transpose(1, 2) @ jacobian).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    smallest = torch.linalg.eigvalsh(normal)[:, 0].clamp_min(0).sqrt()
    size = problem.forward.conditions * problem.geometry.points
    half_axis = problem.gates.rmse * size**0.5 / smallest.clamp_min(1e-12)
    return bool(half_axis.median() < 0.5 * problem.geometry.span)


def cached_reference_sets(
    problem: Problem,
    y: Tensor,
    folder: str | Path | None,
    known: Tensor | None = None,
    **options: int,
) -> list[ReferenceSet]:
    """:func:`reference_sets`, kept on disk under a hash of the problem, the conditions and the options.

    Args:
        problem, y, known, options: as for :func:`reference_sets`.
        folder: where to keep them; None keeps nothing.
    """
    if folder is None:
        return reference_sets(problem, y, known=known, **options)
    key = hashlib.sha256(f"{VERSION} {problem.digest} {known is None} {sorted(options.items())}".encode())
    key.update(y.detach().cpu().contiguous().numpy().tobytes())
    path = Path(folder) / f"reference-{key.hexdigest()[:24]}.pt"
    if path.is_file():
        try:
            stored = torch.load(path, map_location=y.device, weights_only=True)
            return [ReferenceSet(endpoints, finite) for endpoints, finite in stored]
        except Exception as error:  # torch.load raises many kinds for a damaged file
            log.warning("%s cannot be read (%s); its reference sets are searched anew.", path, type(error).__name__)
    log.info("searching the reference sets of %d conditions; they are kept in %s.", len(y), folder)
    sets = reference_sets(problem, y, known=known, **options)
    with replacing(path) as temporary:
        torch.save([(reference.endpoints.cpu(), reference.finite) for reference in sets], temporary)
    return sets
