"""The exploration stage: further solutions near those that the network proposed."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.generation.refine import target_misfits
from cvae.inversion import refine
from cvae.metrics import Check
from cvae.seeds import Purpose, stream
from cvae.tasks import Problem

#: least and largest disturbance, as a share of the range; spread evenly in its logarithm
NEAR, FAR = 0.02, 0.5


class Explorer:
    """Disturbs draws, by little and by much, and refines them back onto their condition.

    A network that has seen too little of a solution set, or that blurs between its parts, proposes draws that lie near
    it but not all over it; from there the rest is within reach. Randomness comes from streams of its own, so that
    results do not depend on how conditions are split.

    Args:
        problem: gives f, space and gates.
        steps: Levenberg-Marquardt steps.
        seed: fixes everything.
        exact: whether to go for zero misfit, see :func:`cvae.generation.refine.refine_draws`.
    """

    def __init__(self, problem: Problem, steps: int, seed: int, exact: bool) -> None:
        self.problem, self.steps, self.exact = problem, steps, exact
        streams = (stream(Purpose.EXPLORATION, seed, kind) for kind in range(4))
        self._which, self._scale, self._noise, self._target = streams

    def __call__(self, x: Tensor, y: Tensor, check: Check, count: int) -> tuple[Tensor, int]:
        """``count`` further draws for each condition.

        Args:
            x: draws ``(batch, draws, *x_shape)``.
            y: conditions ``(batch, *y_shape)``.
            check: of the draws; valid ones are disturbed if there are any.
            count: further draws for each condition.

        Returns:
            The further draws ``(batch, count, *x_shape)``, and how often f was evaluated on one solution.
        """
        space, batch = self.problem.space, len(x)
        # a valid draw at random, or any where none is valid: the largest of random numbers, invalid ones set back
        lottery = torch.rand(batch, count, generator=self._which).to(x)
        order = check.valid.float().argsort(dim=1, descending=True, stable=True)
        candidates = torch.where(check.valid.any(1), check.valid.sum(1), x.shape[1])
        rank = (lottery * candidates.unsqueeze(1)).long().clamp_max(x.shape[1] - 1)
        chosen = order.gather(1, rank)
        start = space.encode(x).gather(1, chosen.unsqueeze(-1).expand(-1, -1, space.parameters))
        scale = NEAR * (FAR / NEAR) ** torch.rand(batch, count, 1, generator=self._scale).to(x)
        # by the inverse distribution function: torch.randn gives other numbers when asked for them in other portions
        uniform = torch.rand(batch, count, space.parameters, generator=self._noise).clamp(1e-6, 1 - 1e-6)
        start = space.project(start + scale * space.span(x) * torch.special.ndtri(uniform).to(x))
        target = None
        if not self.exact:
            # the widest solutions lie near the gate
            share = torch.rand(batch, count, generator=self._target).to(x) ** 0.25
            target = target_misfits(self.problem, share).flatten()
        refined = refine(self.problem, start.flatten(0, 1), y.repeat_interleave(count, 0), self.steps, target)
        return space.decode(refined.theta).unflatten(0, (batch, count)), refined.evaluations
