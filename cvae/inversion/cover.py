"""The best known choice of a few solutions of one condition: what draws are compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.losses import geometric, smooth_coverage, violations
from cvae.metrics import coverage
from cvae.tasks import Problem

#: steps of the gradient, its learning rate at the start, and how often a set is measured
STEPS, RATE, EVERY = 1_000, 0.02, 10
#: width of a bin, weight of the violations and share of a gate, see :class:`cvae.losses.SetObjective`
WIDTH, GATE_WEIGHT, MARGIN, NARROWED = (0.1, 0.02), (1.0, 20.0), 0.98, 0.6


def spread_out(problem: Problem, theta: Tensor, y: Tensor, steps: int = STEPS) -> Tensor:
    """Sets of solutions that cover more, by the gradient of :func:`cvae.losses.smooth_coverage`, subject to the gates.

    The set objective without a network: the parameters of the solutions themselves are moved (Adam), so that nothing
    but the problem limits what they cover. The widest of the sets on the way is taken.

    Args:
        problem: what is inverted.
        theta: parameters of valid solutions, ``(count, draws, parameters)``.
        y: their conditions ``(count, *y_shape)``.
        steps: of the gradient.

    Returns:
        Parameters of the same shape; of a set that became no wider, those that were given. Some may be invalid.
    """
    # also where a test of the trainer has turned gradients off
    with torch.inference_mode(False), torch.enable_grad():
        return _spread_out(problem, theta.clone(), y.clone(), steps)


def _spread_out(problem: Problem, theta: Tensor, y: Tensor, steps: int) -> Tensor:
    best, widest = theta.clone(), _coverage(problem, theta, y)
    moved = problem.space.scaled(theta).requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=RATE)
    low, span = problem.space.low(theta), problem.space.span(theta)
    for step in range(steps):
        done = step / steps
        optimizer.param_groups[0]["lr"] = RATE * (1.01 - done)
        x = problem.space.decode(low + span * moved)
        gain = smooth_coverage(problem.space.coordinates(x), geometric(done / NARROWED, *WIDTH))
        missed = violations(problem.gate_ratios(x, y.unsqueeze(1)), MARGIN).mean(1)
        (gradient,) = torch.autograd.grad((geometric(done, *GATE_WEIGHT) * missed - gain).sum(), moved)
        # where f has no derivative
        moved.grad = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        optimizer.step()
        with torch.no_grad():
            found = problem.space.project(low + span * moved)
            moved.copy_(problem.space.scaled(found))
            if done > NARROWED and step % EVERY == 0:
                now = _coverage(problem, found, y)
                best = torch.where((now > widest).view(-1, 1, 1), found, best)
                widest = torch.maximum(now, widest)
    return best


def _coverage(problem: Problem, theta: Tensor, y: Tensor) -> Tensor:
    x = problem.space.decode(theta)
    return coverage(problem.space.coordinates(x), problem.check(x, y).valid)
