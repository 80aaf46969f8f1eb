"""Neural posterior estimation by the package sbi (extra ``bench``)."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cvae.data import simulate
from cvae.problems import Problem
from cvae.seeds import stream


class NPE:
    """sbi's NPE with a neural spline flow over the endpoints, trained on simulations (Greenberg et al. 2019).

    Args:
        problem: what is to be inverted.
        simulations: training pairs.
        seed: of the simulations.
        max_epochs: bound on the training; it ends earlier when the validation loss stops falling.

    Raises:
        ImportError: without sbi; the message names the extra.
    """

    def __init__(self, problem: Problem, simulations: int = 100_000, seed: int = 0, max_epochs: int = 40) -> None:
        try:
            from sbi.inference import NPE_C
            from sbi.utils import BoxUniform
            from sbi.utils.tracking import TensorBoardTracker
        except ImportError:
            raise ImportError("the NPE baseline needs the package sbi: pip install 'cvae[bench]'.") from None
        self.problem = problem
        geometry = problem.geometry
        torch.manual_seed(seed)
        batch = simulate(problem, simulations, stream(seed, 20))
        theta = geometry.to_endpoints(batch.x).flatten(1)
        low, high = geometry.range
        logging.getLogger("sbi").setLevel(logging.WARNING)
        prior = BoxUniform(torch.full((theta.shape[1],), low - 1e-3), torch.full((theta.shape[1],), high + 1e-3))
        # without a tracker of ours sbi leaves a folder sbi-logs where the user stands
        with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
            tracker = TensorBoardTracker(writer)
            estimator: Any = NPE_C(prior=prior, density_estimator="nsf", show_progress_bars=False, tracker=tracker)
            estimator.append_simulations(theta, batch.y.flatten(1))
            self.flow: Any = estimator.train(training_batch_size=512, max_num_epochs=max_epochs)

    @torch.no_grad()
    def draw(self, y: Tensor, draws: int, generator: torch.Generator, temperature: float | None = None) -> Tensor:
        """Solutions ``(batch, draws, lines, points)`` for conditions ``(batch, conditions, points)``.

        Draws outside the range are rejected, as by sbi's own posterior, out of twice as many.
        """
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        theta = self.flow.sample((2 * draws,), condition=y.flatten(1))  # (2 draws, batch, 2 lines)
        low, high = self.problem.geometry.range
        outside = ((theta < low) | (theta > high)).any(-1)
        # those inside first, in the order in which they were drawn
        kept = outside.float().argsort(dim=0, stable=True)[:draws]
        theta = theta.gather(0, kept.unsqueeze(-1).expand(-1, -1, theta.shape[-1]))
        endpoints = theta.transpose(0, 1).unflatten(-1, (self.problem.geometry.lines, 2))
        return self.problem.geometry.to_lines(endpoints)
