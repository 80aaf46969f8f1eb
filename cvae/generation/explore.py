"""The exploration stage: further solutions near those that the network proposed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cvae.generation.refine import target_misfits
from cvae.inversion import SEPARATION, disturbed, refine
from cvae.metrics import Check
from cvae.seeds import Purpose, stream
from cvae.tasks import Problem


class Explored(NamedTuple):
    """Further draws.

    Attributes:
        x: ``(batch, count, *x_shape)``.
        tells: bool ``(batch, count, 2)``, see :func:`cvae.generation.completeness.count_solutions`: all are different,
            but one that came back to where it began does not tell how often that is found.
        evaluations: how often f was evaluated on one solution.
    """

    x: Tensor
    tells: Tensor
    evaluations: int


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
        keys: further keys of the streams.
    """

    def __init__(self, problem: Problem, steps: int, seed: int, exact: bool, *keys: int) -> None:
        self.problem, self.steps, self.exact = problem, steps, exact
        streams = (stream(Purpose.EXPLORATION, seed, kind, *keys) for kind in range(4))
        self._which, self._scale, self._noise, self._target = streams

    def __call__(self, x: Tensor, y: Tensor, check: Check, count: int) -> Explored:
        """``count`` further draws for each condition.

        Args:
            x: draws ``(batch, draws, *x_shape)``.
            y: conditions ``(batch, *y_shape)``.
            check: of the draws; valid ones are disturbed if there are any.
            count: further draws for each condition.
        """
        space, batch = self.problem.space, len(x)
        # a valid draw at random, or any where none is valid: the largest of random numbers, invalid ones set back
        lottery = torch.rand(batch, count, generator=self._which).to(x)
        order = check.valid.float().argsort(dim=1, descending=True, stable=True)
        candidates = torch.where(check.valid.any(1), check.valid.sum(1), x.shape[1])
        rank = (lottery * candidates.unsqueeze(1)).long().clamp_max(x.shape[1] - 1)
        chosen = order.gather(1, rank)
        origin = space.encode(x).gather(1, chosen.unsqueeze(-1).expand(-1, -1, space.parameters))
        start = disturbed(space, origin, self._scale, self._noise)
        target = None
        if not self.exact:
            # the widest solutions lie near the gate
            share = torch.rand(batch, count, generator=self._target).to(x) ** 0.25
            target = target_misfits(self.problem, share).flatten()
        refined = refine(self.problem, start.flatten(0, 1), y.repeat_interleave(count, 0), self.steps, target)
        theta = refined.theta.unflatten(0, (batch, count))
        moved = (space.scaled(theta) - space.scaled(origin)).square().mean(-1).sqrt() > SEPARATION
        tells = torch.stack([torch.ones_like(moved), moved], dim=-1)
        return Explored(space.decode(theta), tells, refined.evaluations)
