"""A rejection sampler: simulate, keep what passes the gates, else the nearest."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.problems import Problem
from cvae.problems.reference import search_pool

#: key of the random numbers of its pool, which shall not be that of the reference sets
REJECTION = 16


class Rejection:
    """Draws from the prior, accepted by the gates; one pool serves all conditions.

    Args:
        problem: what is to be inverted.
        pool: simulated solutions, that is evaluations of f.
        seed: of the pool.
    """

    def __init__(self, problem: Problem, pool: int, seed: int = 0) -> None:
        self.problem = problem
        self.pool = pool
        self.seed = seed

    def draw(self, y: Tensor, draws: int, generator: torch.Generator, temperature: float | None = None) -> Tensor:
        """Accepted solutions ``(batch, draws, lines, points)``; where too few were accepted, the nearest ones.

        Raises:
            ValueError: if the pool holds fewer members with a finite f than draws are wanted.
        """
        # simulated anew at each call rather than held, but always the same
        found = search_pool(self.problem, y, draws, draws, self.seed, self.pool, REJECTION)
        rows = []
        for accepted, nearest in zip(found.accepted, found.nearest, strict=True):
            # the nearest are accepted ones too, and none is to be shown twice
            shown = (nearest.flatten(1).unsqueeze(1) == accepted.flatten(1)).all(-1).any(-1)
            row = torch.cat([accepted, nearest[~shown]])[:draws]
            if len(row) < draws:
                raise ValueError(f"a pool of {self.pool} simulations holds {len(row)} of {draws} draws; enlarge it.")
            rows.append(row)
        return self.problem.geometry.to_lines(torch.stack(rows))
