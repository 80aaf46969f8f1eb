"""Levenberg-Marquardt on the endpoints: pulls lines onto a condition, all of them in one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.problems.problem import Problem

# solutions of 50 points refined at once, fewer of longer ones; the Jacobian of one block is
# CHUNK x (conditions * 50) x (2 lines) numbers
CHUNK = 8_192
SMALLEST_DAMPING, LARGEST_DAMPING = 1e-7, 1e7


class Refined(NamedTuple):
    """Endpoints ``(count, lines, 2)``, their misfit ``(count,)`` and how often f was evaluated on one solution."""

    endpoints: Tensor
    misfit: Tensor
    evaluations: int


@torch.no_grad()
def refine(
    problem: Problem,
    endpoints: Tensor,
    y: Tensor,
    steps: int = 15,
    target: Tensor | None = None,
    chunk: int | None = None,
) -> Refined:
    """Reduce the misfit of each solution by damped Gauss-Newton steps, within range and slope order.

    Levenberg 1944 and Marquardt 1963, on the normal equations of the ``2 lines`` endpoints. A step that does not
    reduce the misfit is not taken, so a solution never gets worse.

    Args:
        problem: gives f, range and directions.
        endpoints: starts ``(count, lines, 2)``.
        y: the condition of each start, ``(count, conditions, points)``.
        steps: steps for each solution.
        target: misfits ``(count,)`` at which to stop: a solution that comes below its target is set back on its way to
            where it meets the target. None goes for zero.
        chunk: solutions refined at once; None takes as many as fit the memory that is meant for it.
    """
    chunk = max(CHUNK * 50 // problem.geometry.points, 1) if chunk is None else chunk
    pieces = []
    for start in range(0, len(endpoints), chunk):
        part = slice(start, start + chunk)
        goal = None if target is None else target[part]
        pieces.append(_refine(problem, endpoints[part], y[part], steps, goal))
    if not pieces:
        return Refined(endpoints, endpoints.new_zeros(0), 0)
    return Refined(
        torch.cat([piece.endpoints for piece in pieces]),
        torch.cat([piece.misfit for piece in pieces]),
        sum(piece.evaluations for piece in pieces),
    )


def _refine(problem: Problem, endpoints: Tensor, y: Tensor, steps: int, target: Tensor | None) -> Refined:
    geometry = problem.geometry
    theta = geometry.project(endpoints)
    per_step = 2 + (geometry.lines if problem.forward.pointwise else 2 * geometry.lines)
    # solutions that still move; the others are left out of the arithmetic
    live = torch.arange(len(theta), device=theta.device)
    misfit = problem.misfit(geometry.to_lines(theta), y)
    evaluations = len(theta)
    damping = theta.new_full((len(theta),), 1e-3)
    floor = torch.full_like(misfit, 1e-6) if target is None else target.clamp_min(1e-6)
    for _ in range(steps):
        moving = (misfit[live] > floor[live]) & (damping[live] < LARGEST_DAMPING)
        live = live[moving]
        if len(live) == 0:
            break
        y_live = y[live]
        current = theta[live]
        model = _quadratic(problem, current, y_live)
        evaluations += per_step * len(live)
        proposal = geometry.project(current + _step(problem, current, model, damping[live]))
        new = problem.misfit(geometry.to_lines(proposal), y_live)
        better = new < misfit[live]
        if target is not None:
            crossed = better & (new < floor[live])
            proposal[crossed], new[crossed] = _meet(
                problem, current[crossed], proposal[crossed], y_live[crossed], floor[live][crossed]
            )
            evaluations += 8 * int(crossed.sum())
        theta[live[better]] = proposal[better]
        misfit[live[better]] = new[better]
        factor = torch.where(better, 0.2, 5.0)
        damping[live] = (damping[live] * factor).clamp(SMALLEST_DAMPING, LARGEST_DAMPING)
        if target is not None:
            floor[live[crossed]] = torch.inf
    return Refined(theta, misfit, evaluations)


def jacobian_of(function: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Values ``(count, outputs)`` and Jacobians ``(count, outputs, size)`` of a batched function at ``(count, size)``.

    One forward-mode pass per input, on the whole batch: inputs are few, outputs are many. An operation without a
    forward-mode rule falls back to two reverse passes.
    """
    columns = []
    values = inputs
    for number in range(inputs.shape[1]):
        tangent = torch.zeros_like(inputs)
        tangent[:, number] = 1
        values, column = _jvp(function, inputs, tangent)
        columns.append(column)
    return values, torch.stack(columns, dim=-1)


def _jvp(function: Callable[[Tensor], Tensor], inputs: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
    try:
        found = torch.func.jvp(function, (inputs,), (tangent,))
        return found[0], found[1]
    except (RuntimeError, NotImplementedError):
        with torch.enable_grad():
            return torch.autograd.functional.jvp(function, inputs, tangent)


class _Quadratic(NamedTuple):
    """Gauss-Newton model of half the squared residual: gradient ``(count, size)``, normal ``(count, size, size)``."""

    gradient: Tensor
    normal: Tensor


def _quadratic(problem: Problem, theta: Tensor, y: Tensor) -> _Quadratic:
    """The Gauss-Newton model around endpoints ``theta`` ``(count, lines, 2)``, of size ``2 lines``."""
    geometry = problem.geometry
    if not problem.forward.pointwise:

        def residual(flat: Tensor) -> Tensor:
            return (problem.forward(geometry.to_lines(flat.view(-1, geometry.lines, 2))) - y).flatten(1)

        r, jacobian = jacobian_of(residual, theta.flatten(1))
        transposed = jacobian.transpose(1, 2)
        return _Quadratic((transposed @ r.unsqueeze(-1)).squeeze(-1), transposed @ jacobian)
    # a pointwise f has one derivative per line and point; its products with the endpoints' weights are sums over points
    x = geometry.to_lines(theta)
    slopes = []
    values = y
    for line in range(geometry.lines):
        tangent = torch.zeros_like(x)
        tangent[:, line] = 1
        values, slope = _jvp(problem.forward, x, tangent)
        slopes.append(slope)
    r = values - y
    t = geometry.position(x)
    weights = torch.stack([1 - t, t], dim=1)
    products = torch.stack([(1 - t) * (1 - t), (1 - t) * t, (1 - t) * t, t * t], dim=1)
    count, lines = len(theta), geometry.lines
    gradient = torch.stack([((slope * r).sum(1) @ weights) for slope in slopes], dim=1).flatten(1)
    normal = x.new_empty(count, lines, 2, lines, 2)
    for one in range(lines):
        for two in range(one, lines):
            block = ((slopes[one] * slopes[two]).sum(1) @ products).view(count, 2, 2)
            normal[:, one, :, two] = block
            normal[:, two, :, one] = block
    return _Quadratic(gradient, normal.view(count, 2 * lines, 2 * lines))


def _step(problem: Problem, theta: Tensor, model: _Quadratic, damping: Tensor) -> Tensor:
    """Damped Gauss-Newton step ``(count, lines, 2)`` that does not push against a bound."""
    low, high = problem.geometry.range
    flat = theta.flatten(1)
    gradient = model.gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    normal = model.normal.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    free = ~(((flat <= low) & (gradient > 0)) | ((flat >= high) & (gradient < 0)))
    gradient = gradient * free
    normal = normal * free.unsqueeze(1) * free.unsqueeze(2)
    scale = normal.diagonal(dim1=1, dim2=2)
    # Marquardt's scaling, with a floor that keeps the equations solvable where f does not depend on an endpoint
    ridge = damping.unsqueeze(-1) * scale + 1e-6 * scale.amax(-1, keepdim=True) + 1e-12
    step, _ = torch.linalg.solve_ex(normal + torch.diag_embed(ridge), -gradient)
    return step.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).view_as(theta)


def _meet(problem: Problem, outside: Tensor, inside: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Points between ``outside`` (misfit above target) and ``inside`` (below) where the misfit is the target."""
    low, high = torch.zeros_like(target), torch.ones_like(target)
    for _ in range(7):
        middle = (low + high) / 2
        between = outside + middle[:, None, None] * (inside - outside)
        below = problem.misfit(problem.geometry.to_lines(between), y) < target
        high = torch.where(below, middle, high)
        low = torch.where(below, low, middle)
    met = outside + high[:, None, None] * (inside - outside)
    return met, problem.misfit(problem.geometry.to_lines(met), y)
