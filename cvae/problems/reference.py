"""Reference sets: (near-)exhaustive valid solutions of a condition, found without any network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.files import replacing
from cvae.problems.problem import Problem
from cvae.problems.refinement import jacobian_of, refine
from cvae.seeds import stream

POOL = 2_000_000
BLOCK = 50_000
#: reference solutions kept of a continuum; enough for a greedy choice of 30 not to change in the second digit
KEPT = 4_000
#: an isolated solution is known to this distance (RMS over the values of all lines)
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
    starts: int = 3_000,
    kept: int = KEPT,
) -> list[ReferenceSet]:
    """Reference solutions of every condition, exhaustively.

    Where solutions form a continuum: all members of a large simulated pool that pass the gates, completed by refined
    starts where the pool holds few. Where they are isolated: the nearest members of the pool, refined to zero misfit,
    merged.

    Args:
        problem: what is to be inverted.
        y: conditions ``(count, conditions, points)``.
        seed: of the pool.
        pool: simulated solutions; made block by block, so memory does not grow with it.
        starts: pool members that are refined for a condition with isolated solutions or few accepted ones.
        kept: reference solutions kept for each condition of a continuum.
    """
    finite = has_isolated_solutions(problem, seed)
    near = starts if finite else starts // 10
    candidates, misfits = nearest_in_pool(problem, y, max(kept, near) if not finite else near, seed, pool)
    sets = []
    for index in range(len(y)):
        target = y[index]
        if finite:
            sets.append(ReferenceSet(_isolated(problem, candidates[index], target), True))
            continue
        accepted = _accepted(problem, candidates[index], target)
        if len(accepted) < kept // 20:
            accepted = torch.cat([accepted, _completed(problem, candidates[index][:near], target, seed)])
        sets.append(ReferenceSet(_thinned(accepted, kept, seed), False))
    del misfits
    return sets


@torch.no_grad()
def nearest_in_pool(
    problem: Problem, y: Tensor, count: int, seed: int, pool: int = POOL
) -> tuple[list[Tensor], Tensor]:
    """For every condition, candidates of a simulated pool: all that may pass the gate, or else the nearest ones.

    The squared misfit against all conditions is one matrix product per block, ``|f|^2 - 2 f.y + |y|^2``.

    Returns:
        Endpoints ``(about count, lines, 2)`` for each condition, nearest first, and their misfits ``(len(y), count)``.
    """
    count = min(count, pool)
    best = y.new_full((len(y), count), torch.inf)
    chosen = y.new_zeros(len(y), count, problem.geometry.lines, 2)
    for endpoints, values in _pool(problem, seed, pool, y.device):
        squares = _squared_misfits(values, y)
        # a random one of the acceptable is as good as the nearest: all of them count as zero
        squares = torch.where(squares < problem.gates.rmse**2, squares * 1e-6, squares)
        block, order = squares.T.topk(min(count, len(endpoints)), dim=1, largest=False)
        merged = torch.cat([best, block], dim=1)
        keep_values, keep = merged.topk(count, dim=1, largest=False)
        both = torch.cat([chosen, endpoints[order]], dim=1)
        chosen = both.gather(1, keep[..., None, None].expand(-1, -1, *both.shape[2:]))
        best = keep_values
    return list(chosen), best.sqrt()


def _pool(problem: Problem, seed: int, pool: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    generator = stream(seed, 7)
    done = 0
    while done < pool:
        size = min(BLOCK, pool - done)
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
    return merge(refined.endpoints[exact], refined.misfit[exact])


def merge(endpoints: Tensor, misfit: Tensor, separation: float = SEPARATION) -> Tensor:
    """One of each cluster of solutions nearer than ``separation`` (RMS over endpoints), best misfit first."""
    rest = endpoints[misfit.argsort(stable=True)]
    found = []
    while len(rest):
        found.append(rest[0])
        rest = rest[(rest - rest[0]).square().mean((1, 2)).sqrt() > separation]
    return torch.stack(found) if found else endpoints[:0]


def _thinned(endpoints: Tensor, kept: int, seed: int) -> Tensor:
    if len(endpoints) <= kept:
        return endpoints
    return endpoints[torch.randperm(len(endpoints), generator=stream(seed, 9))[:kept].to(endpoints.device)]


@torch.no_grad()
def has_isolated_solutions(problem: Problem, seed: int = 0, samples: int = 500) -> bool:
    """Whether exact solutions are isolated points rather than a continuum.

    Around a solution, all that passes the gate is roughly an ellipsoid whose longest half-axis is the gate over the
    smallest singular value of the Jacobian of f with respect to the endpoints. Isolated means that it is short against
    the range for most solutions of the prior.
    """
    endpoints = problem.geometry.sample(samples, stream(seed, 10))
    flat = endpoints.flatten(1).double()

    def curves(values: Tensor) -> Tensor:
        return problem.forward(problem.geometry.to_lines(values.view(-1, problem.geometry.lines, 2))).flatten(1)

    _, jacobian = jacobian_of(curves, flat)
    normal = (jacobian.transpose(1, 2) @ jacobian).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    smallest = torch.linalg.eigvalsh(normal)[:, 0].clamp_min(0).sqrt()
    size = problem.forward.conditions * problem.geometry.points
    half_axis = problem.gates.rmse * size**0.5 / smallest.clamp_min(1e-12)
    return bool(half_axis.median() < 0.5 * problem.geometry.span)


def cached_reference_sets(
    problem: Problem, y: Tensor, folder: str | Path | None = None, **options: int
) -> list[ReferenceSet]:
    """:func:`reference_sets`, kept on disk under a hash of the problem, the conditions and the options.

    Args:
        problem, y, options: as for :func:`reference_sets`.
        folder: where to keep them; by default ``$CVAE_CACHE`` or ``cvae`` in the user's cache folder.
    """
    folder = Path(folder) if folder is not None else cache_folder()
    key = hashlib.sha256(f"{problem.digest} {sorted(options.items())} 1".encode())
    key.update(y.detach().cpu().contiguous().numpy().tobytes())
    path = folder / f"reference-{key.hexdigest()[:24]}.pt"
    if path.is_file():
        stored = torch.load(path, map_location=y.device, weights_only=True)
        return [ReferenceSet(endpoints, finite) for endpoints, finite in stored]
    sets = reference_sets(problem, y, **options)
    with replacing(path) as temporary:
        torch.save([(reference.endpoints.cpu(), reference.finite) for reference in sets], temporary)
    return sets


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$CVAE_CACHE``, else ``cvae`` below ``$XDG_CACHE_HOME`` or ~/.cache."""
    if chosen := os.environ.get("CVAE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cvae"
