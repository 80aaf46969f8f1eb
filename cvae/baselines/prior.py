"""Draws from the prior: random starts for a refinement without any network."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.tasks import Problem


class PriorDraws:
    """Proposes solutions at random, whatever the condition; a :class:`~cvae.models.sampler.Sampler`.

    Args:
        problem: gives the space and its prior.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` for conditions ``(batch, *y_shape)``."""
        theta = self.problem.space.sample(len(y) * draws, generator)
        return self.problem.space.decode(theta).unflatten(0, (len(y), draws)).to(y.device)
