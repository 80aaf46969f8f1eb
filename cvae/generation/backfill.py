"""The last resort: simulations for conditions of which too few draws are valid, without the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cvae.generation.refine import target_misfits
from cvae.inversion import refine, search_simulations
from cvae.metrics import Check
from cvae.seeds import Purpose, stream
from cvae.tasks import Problem

#: nearest simulations that are refined for a condition
STARTS = 300
#: disturbance of a known solution, as a share of the range, from which another near it is refined
JITTER = 0.02


@dataclass(frozen=True)
class Backfill:
    """Replaces invalid draws of conditions that have too few valid ones.

    First by the nearest of many simulations, refined; then, if a condition still has too few, by solutions refined from
    disturbed copies of those found. Conditions with enough valid draws are left alone.

    Args:
        problem: what is to be inverted.
        simulations: how many are searched.
        steps: Levenberg-Marquardt steps.
        seed: fixes the simulations and the disturbances.
        exact: whether to go for zero misfit, see :func:`cvae.generation.refine.refine_draws`.
    """

    problem: Problem
    simulations: int
    steps: int
    seed: int
    exact: bool

    def __call__(self, x: Tensor, y: Tensor, check: Check, count: int, first: int = 0) -> tuple[Tensor, int, int]:
        """Draws of the same shape, the number of conditions that were searched, and how often f was evaluated on one
        solution.

        Args:
            x: draws ``(batch, draws, *x_shape)``.
            y: conditions ``(batch, *y_shape)``.
            check: of the draws.
            count: valid draws that a condition needs.
            first: number of the first of these conditions among all, so that results do not depend on the chunks.
        """
        lacking = (check.valid.sum(1) < min(count, x.shape[1])).nonzero().squeeze(1)
        if len(lacking) == 0:
            return x, 0, 0
        x, space = x.clone(), self.problem.space
        simulated = stream(Purpose.BACKFILL_POOL, self.seed)
        found = search_simulations(self.problem, y[lacking], 0, STARTS, simulated, self.simulations)
        evaluations = self.simulations
        for index, starts in zip(lacking.tolist(), found.nearest, strict=True):
            generator = stream(Purpose.BACKFILL, self.seed, first + index)
            evaluations += self._replace(x[index], y[index], starts, generator)
            valid = self._valid(x[index], y[index])
            if 0 < int(valid.sum()) < count:
                known = space.encode(x[index][valid])
                copies = known[torch.randint(len(known), (STARTS,), generator=generator).to(x.device)]
                noise = torch.randn(copies.shape, generator=generator).to(x) * JITTER * space.span(x)
                evaluations += self._replace(x[index], y[index], copies + noise, generator)
        return x, len(lacking), evaluations

    def _valid(self, x: Tensor, y: Tensor) -> Tensor:
        return self.problem.check(x.unsqueeze(0), y.unsqueeze(0)).valid[0]

    def _replace(self, x: Tensor, y: Tensor, starts: Tensor, generator: torch.Generator) -> int:
        """Put refined starts that are valid in the place of invalid draws ``x`` of one condition; in place."""
        target = None
        if not self.exact:
            target = target_misfits(self.problem, torch.rand(len(starts), generator=generator).to(x))
        refined = refine(self.problem, starts, y.expand(len(starts), *y.shape), self.steps, target)
        candidates = self.problem.space.decode(refined.theta)
        good = candidates[self._valid(candidates, y)]
        free = (~self._valid(x, y)).nonzero().squeeze(1)[: len(good)]
        x[free] = good[: len(free)]
        return refined.evaluations
