"""Draws from the uniform prior: random starts for a refinement without any network."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.problems import Problem


class PriorDraws:
    """Proposes lines at random, whatever the condition."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def draw(self, y: Tensor, draws: int, generator: torch.Generator, temperature: float | None = None) -> Tensor:
        """Solutions ``(batch, draws, lines, points)`` for conditions ``(batch, conditions, points)``."""
        geometry = self.problem.geometry
        endpoints = geometry.sample(len(y) * draws, generator)
        return geometry.to_lines(endpoints).unflatten(0, (len(y), draws)).to(y.device)
