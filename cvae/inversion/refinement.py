"""Levenberg-Marquardt on the parameters: pulls solutions onto a condition, all of them in one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.tasks import Problem, Space

#: two lines of 50 points refined at once, fewer of longer or more ones: the Jacobian of a chunk bounds the memory
CHUNK = 8_192
SMALLEST_DAMPING, LARGEST_DAMPING = 1e-7, 1e7
#: least and largest disturbance, as a share of the range; spread evenly in its logarithm
NEAR, FAR = 0.02, 0.5


class Refined(NamedTuple):
    """Parameters ``(count, parameters)``, their misfit ``(count,)`` and how often f was evaluated on one solution."""

    theta: Tensor
    misfit: Tensor
    evaluations: int


@torch.no_grad()
def refine(
    problem: Problem,
    theta: Tensor,
    y: Tensor,
    steps: int = 15,
    target: Tensor | None = None,
    chunk: int | None = None,
) -> Refined:
    """Reduce the misfit of each solution by damped Gauss-Newton steps, within what the space allows.

    Levenberg 1944 and Marquardt 1963, on the normal equations of the parameters. A step that does not reduce the misfit
    is not taken, so a solution never gets worse.

    Args:
        problem: gives f and the space.
        theta: starts ``(count, parameters)``.
        y: the condition of each start, ``(count, *y_shape)``.
        steps: steps for each solution.
        target: misfits ``(count,)`` at which to stop: a solution that comes below its target is set back on its way to
            where it meets the target. None goes for zero.
        chunk: solutions refined at once; None takes as many as fit the memory that is meant for it.
    """
    if len(theta) == 0:
        return Refined(theta, theta.new_zeros(0), 0)
    if chunk is None:
        values = y[0].numel() // problem.forward.conditions
        chunk = max(CHUNK * 200 // (values * problem.space.parameters), 1)
    parts = []
    for start in range(0, len(theta), chunk):
        part = slice(start, start + chunk)
        goal = None if target is None else target[part]
        parts.append(_refine(problem, theta[part], y[part], steps, goal))
    return Refined(
        torch.cat([part.theta for part in parts]),
        torch.cat([part.misfit for part in parts]),
        sum(part.evaluations for part in parts),
    )


def disturbed(
    space: Space,
    theta: Tensor,
    scale: torch.Generator,
    noise: torch.Generator,
    near: float = NEAR,
    far: float = FAR,
) -> Tensor:
    """Copies of solutions ``(..., parameters)``, disturbed by little and by much, within what the space allows.

    Args:
        space: gives the ranges.
        theta: solutions.
        scale, noise: sources of how far each goes and where to.
        near, far: least and largest disturbance, as a share of the range.
    """
    share = near * (far / near) ** torch.rand(*theta.shape[:-1], 1, generator=scale).to(theta)
    # by the inverse distribution function: torch.randn gives other numbers when asked for them in other portions
    uniform = torch.rand(theta.shape, generator=noise).clamp(1e-6, 1 - 1e-6)
    return space.project(theta + share * space.span(theta) * torch.special.ndtri(uniform).to(theta))


def _refine(problem: Problem, theta: Tensor, y: Tensor, steps: int, target: Tensor | None) -> Refined:
    space = problem.space
    theta = space.project(theta)
    # one evaluation for the misfit, and as many as parameters, with the value, for the Jacobian
    per_step = 2 + space.parameters
    # solutions that still move; the others are left out of the arithmetic
    live = torch.arange(len(theta), device=theta.device)
    misfit = problem.misfit(space.decode(theta), y)
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
        evaluations += per_step * len(live)
        proposal = space.project(current + _step(problem, current, y_live, damping[live]))
        new = problem.misfit(space.decode(proposal), y_live)
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


def scaled_jacobian(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor]:
    """``f`` flattened ``(count, values)``, and its Jacobian ``(count, values, parameters)`` with respect to the
    parameters as shares of their ranges, at ``theta`` ``(count, parameters)``."""
    values, jacobian = jacobian_of(lambda flat: problem.forward(problem.space.decode(flat)).flatten(1), theta)
    return values, jacobian * problem.space.span(theta)


def _step(problem: Problem, theta: Tensor, y: Tensor, damping: Tensor) -> Tensor:
    """Damped Gauss-Newton step ``(count, parameters)`` that does not push against a bound."""
    values, jacobian = scaled_jacobian(problem, theta)
    transposed = jacobian.transpose(1, 2)
    gradient = (
        (transposed @ (values - y.flatten(1)).unsqueeze(-1)).squeeze(-1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    )
    normal = (transposed @ jacobian).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    share = problem.space.scaled(theta)
    free = ~(((share <= 0) & (gradient > 0)) | ((share >= 1) & (gradient < 0)))
    gradient = gradient * free
    normal = normal * free.unsqueeze(1) * free.unsqueeze(2)
    scale = normal.diagonal(dim1=1, dim2=2)
    # Marquardt's scaling, with a floor that keeps the equations solvable where f does not depend on a parameter
    ridge = damping.unsqueeze(-1) * scale + 1e-6 * scale.amax(-1, keepdim=True) + 1e-12
    step, _ = torch.linalg.solve_ex(normal + torch.diag_embed(ridge), -gradient)
    return step.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) * problem.space.span(theta)


def _meet(problem: Problem, outside: Tensor, inside: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Parameters between ``outside`` (misfit above target) and ``inside`` (below) where the misfit is the target."""
    low, high = torch.zeros_like(target), torch.ones_like(target)
    for _ in range(7):
        middle = (low + high) / 2
        between = outside + middle.unsqueeze(-1) * (inside - outside)
        below = problem.misfit(problem.space.decode(between), y) < target
        high = torch.where(below, middle, high)
        low = torch.where(below, low, middle)
    met = outside + high.unsqueeze(-1) * (inside - outside)
    return met, problem.misfit(problem.space.decode(met), y)
