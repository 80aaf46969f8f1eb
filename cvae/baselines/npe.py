"""Neural posterior estimation by the package sbi (extra ``bench``)."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cvae.data import simulate
from cvae.errors import UserError
from cvae.seeds import Purpose, stream
from cvae.tasks import Problem


class NPE:
    """sbi's NPE with a neural spline flow over the parameters, trained on simulations (Greenberg et al. 2019).

    Args:
        problem: what is to be inverted.
        simulations: training pairs.
        seed: of the simulations.
        max_epochs: bound on the training; it ends earlier when the validation loss stops falling.

    Raises:
        UserError: without sbi; the message names the extra.
    """

    def __init__(self, problem: Problem, simulations: int = 100_000, seed: int = 0, max_epochs: int = 40) -> None:
        try:
            from sbi.inference import NPE_C
            from sbi.utils import BoxUniform
            from sbi.utils.tracking import TensorBoardTracker
        except ImportError:
            raise UserError("the NPE baseline needs the package sbi: pip install -e '.[bench]'.") from None
        self.problem = problem
        space = problem.space
        torch.manual_seed(seed)
        batch = simulate(problem, simulations, stream(Purpose.BASELINE, seed))
        theta = space.encode(batch.x)
        spare = 1e-3 * space.span(theta)
        logging.getLogger("sbi").setLevel(logging.WARNING)
        prior = BoxUniform(space.low(theta) - spare, space.low(theta) + space.span(theta) + spare)
        # without a tracker of ours sbi leaves a folder sbi-logs where the user stands
        with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
            tracker = TensorBoardTracker(writer)
            estimator: Any = NPE_C(prior=prior, density_estimator="nsf", show_progress_bars=False, tracker=tracker)
            estimator.append_simulations(theta, batch.y.flatten(1))
            self.flow: Any = estimator.train(training_batch_size=512, max_num_epochs=max_epochs)

    @torch.no_grad()
    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` for conditions ``(batch, *y_shape)``.

        Draws outside the range are rejected, as by sbi's own posterior, out of twice as many.
        """
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        theta = self.flow.sample((2 * draws,), condition=y.flatten(1))  # (2 draws, batch, parameters)
        share = self.problem.space.scaled(theta)
        outside = ((share < 0) | (share > 1)).any(-1)
        # those inside first, in the order in which they were drawn
        kept = outside.float().argsort(dim=0, stable=True)[:draws]
        theta = theta.gather(0, kept.unsqueeze(-1).expand(-1, -1, theta.shape[-1]))
        return self.problem.space.decode(theta.transpose(0, 1))
