"""The spread of y: the scale to which gates and misfits are related."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cvae.seeds import Purpose, stream

if TYPE_CHECKING:
    from cvae.tasks.problem import Problem

SIMULATIONS = 4_000
#: conditions that the other simulations are compared with
CONDITIONS = 200
#: share of the values, those farthest from the median, that tells how singular f is
FEW = 1e-3


@torch.no_grad()
def prior_simulations(problem: Problem) -> tuple[Tensor, Tensor]:
    """Solutions from the prior, always the same, ``(count, *x_shape)``, and their conditions ``(count, conditions,
    values)``, which may not be finite."""
    x = problem.space.decode(problem.space.sample(SIMULATIONS, stream(Purpose.SPREAD)))
    return x, problem.by_condition(problem.forward(x))


def prior_conditions(problem: Problem) -> Tensor:
    """The conditions of :func:`prior_simulations`, those that are finite, ``(count, conditions, values)``."""
    _, y = prior_simulations(problem)
    return y[y.isfinite().flatten(1).all(1)]


@torch.no_grad()
def accepted_share(problem: Problem) -> float:
    """Share of solutions from the prior that pass the gates of misfit of another's condition, mean over conditions."""
    y = prior_conditions(problem)
    if len(y) == 0:
        return 0.0
    squares = torch.stack([(y - one).square().mean(-1) for one in y[:CONDITIONS]])
    return float((squares.amax(-1).sqrt() < problem.gates.rmse).double().mean())


@torch.no_grad()
def ignored_shares(problem: Problem) -> Tensor:
    """For each variable x0, x1, ... of f, a line or an entry of the vector, the share of the prior on which y does not
    depend on it, ``(variables,)``: y stays the same, up to rounding, when the variable is that of another solution."""
    x, y = prior_simulations(problem)
    kept = y.isfinite().flatten(1).all(1)
    x, y = x[kept], y[kept]
    shares = []
    for number in range(x.shape[1]):
        other = x.clone()
        other[:, number] = x[:, number].roll(1, 0)
        change = (problem.by_condition(problem.forward(other)) - y).abs()
        # what is not finite is no answer either
        shares.append((change <= rounding(y)).flatten(1).all(1).double().mean())
    return torch.stack(shares)


def rounding(y: Tensor) -> Tensor:
    """Difference up to which values of each condition are the same, of y ``(count, conditions, values)``:
    ``(conditions, 1)``."""
    largest = y.abs().amax((0, 2)) if len(y) else y.new_zeros(y.shape[1])
    return 2 * torch.finfo(y.dtype).eps * largest.unsqueeze(1)


def spread(y: Tensor) -> Tensor:
    """RMSE of y ``(count, conditions, values)`` against its mean over the count, ``(conditions,)``: the misfit, as a
    root mean square, of an answer that does not look at y. Nan without any y."""
    return (y.double() - y.double().mean(0)).square().mean((0, 2)).sqrt()


def flat_share(y: Tensor, gate: float) -> Tensor:
    """Share of y ``(count, conditions, values)`` that a constant at its own mean misses by less than ``gate``,
    ``(conditions,)``."""
    return ((y - y.mean(-1, keepdim=True)).square().mean(-1).sqrt() < gate).double().mean(0)


def singularity(y: Tensor) -> Tensor:
    """Share of the squared distances from the median that the thousandth of the values that is farthest from it holds,
    ``(conditions,)``, of y ``(count, conditions, values)``.

    About .01 for a function without poles, also for an exponential one; above .35 where poles decide. 0 where y
    does not vary.
    """
    values = y.double().transpose(0, 1).flatten(1)
    squares = (values - values.median(1, keepdim=True).values).square()
    few = squares.topk(max(round(FEW * values.shape[1]), 1), dim=1).values.sum(1)
    return (few / squares.sum(1)).nan_to_num(nan=0.0)
