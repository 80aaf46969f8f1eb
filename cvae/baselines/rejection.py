"""A rejection sampler: simulate, keep what passes the gates, else the nearest."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.inversion import search_simulations
from cvae.seeds import Purpose, stream
from cvae.tasks import Problem


class Rejection:
    """Draws from the prior, accepted by the gates; the same simulations serve all conditions.

    Args:
        problem: what is to be inverted.
        simulations: how many, that is evaluations of f.
        seed: of the simulations.
    """

    def __init__(self, problem: Problem, simulations: int, seed: int = 0) -> None:
        self.problem, self.simulations, self.seed = problem, simulations, seed

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Accepted solutions ``(batch, draws, *x_shape)``; where too few were accepted, the nearest ones.

        The simulations are fixed by the seed, so ``generator`` only shuffles those that were accepted.

        Raises:
            UserError: if fewer simulations have a finite f than draws are wanted.
        """
        # simulated anew at each call rather than kept, but always the same
        simulated = stream(Purpose.REJECTION_POOL, self.seed)
        found = search_simulations(self.problem, y, draws, draws, simulated, self.simulations)
        rows = []
        for accepted, nearest in zip(found.accepted, found.nearest, strict=True):
            # the nearest are accepted ones too, and none is to be shown twice
            shown = (nearest.unsqueeze(1) == accepted).all(-1).any(-1)
            row = torch.cat([accepted, nearest[~shown]])[:draws]
            if len(row) < draws:
                raise UserError(f"{self.simulations} simulations give {len(row)} of {draws} draws; simulate more.")
            rows.append(row[torch.randperm(draws, generator=generator).to(row.device)])
        return self.problem.space.decode(torch.stack(rows))
