"""Whether the misfit leads to a solution from afar."""

from __future__ import annotations

import torch

from cvae.seeds import Purpose, stream
from cvae.tasks import Problem

#: how far off a decoder's first guesses are, as a share of the range
GUESS = 0.1


def gradient_alignment(problem: Problem, guess: float = GUESS, samples: int = 2_000, seed: int = 0) -> float:
    """How surely the misfit falls on the way to the solution, from -1 to 1.

    From solutions disturbed by ``guess`` (as a share of the range): the share of those whose squared misfit falls in
    the direction of the solution, minus the share of those where it rises. 1 where the misfit is a bowl around the
    solution, whatever the number of parameters; near 0 where f turns within the disturbance and its gradient points
    anywhere.
    """
    generator = stream(Purpose.ALIGNMENT, seed)
    space = problem.space
    true = space.sample(samples, generator)
    noise = torch.randn(true.shape, generator=generator) * guess * space.span(true)
    start = space.project(true + noise).requires_grad_()
    with torch.enable_grad():
        residual = problem.forward(space.decode(start)) - problem.forward(space.decode(true))
        if not residual.requires_grad:
            return 0.0  # f does not depend on x
        (gradient,) = torch.autograd.grad(residual.square().sum(), start)
    return float(-(gradient * (true - start.detach())).sum(1).sign().mean())
