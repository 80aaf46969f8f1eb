"""Points of a swiss roll in the plane, given nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.metrics.records import Drawn
from cvae.seeds import Purpose, stream
from cvae.tasks.task import GenerationTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: by which the coordinates of scikit-learn are divided, so that the roll lies within about [-3, 3]
UNIT = 5.0
#: angle at which the spiral begins, and by how much it winds
START, TURN = 1.5 * math.pi, 3 * math.pi
#: places along the spiral for its density
PLACES = 500


@dataclass(frozen=True)
class SwissRoll(GenerationTask):
    """Points ``(2,)`` of a spiral with noise; no condition, ``y`` is ``(0,)``.

    The first and the last coordinate of scikit-learn's ``make_swiss_roll`` (Marsland 2009), divided by 5: as Grathwohl
    et al. 2019, "FFJORD", use it.

    Args:
        noise: standard deviation of the noise in the unit of scikit-learn, in which two turns of the spiral are 6.28
            apart.

    Raises:
        UserError: for a noise that is not positive, without which there is no density.
    """

    noise: float = 1.0
    headline = "mmd"

    def __post_init__(self) -> None:
        if not 0 < self.noise < math.inf:
            raise UserError(f"data.noise is {self.noise}; it must be a positive number.")

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one point."""
        return (2,)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Nothing is given."""
        return (0,)

    @property
    def config(self) -> dict[str, Any]:
        """Plain data from which the same task is built again."""
        return {"_target_": "cvae.tasks.SwissRoll", "noise": self.noise}

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` points, ``(count, 2)``."""
        # here, so that other tasks do not pay for the import
        from sklearn.datasets import make_swiss_roll

        seed = int(torch.randint(2**31, (), generator=generator))
        points, _ = make_swiss_roll(count, noise=self.noise, random_state=seed)
        return torch.from_numpy(points[:, [0, 2]] / UNIT).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of points ``(count, 2)``, ``(count,)``, in nats: the mean over the angle ``t``, which is uniform,
        of Gaussians around the spiral ``(t cos t, t sin t) / 5``, by the midpoint rule."""
        t = START + TURN * (torch.arange(PLACES, device=x.device) + 0.5) / PLACES
        centres, spread = torch.stack([t * t.cos(), t * t.sin()], dim=1) / UNIT, self.noise / UNIT
        squares = (x.unsqueeze(1) - centres).square().sum(-1) / (2 * spread**2)
        return (-squares).logsumexp(1) - math.log(PLACES * 2 * math.pi * spread**2)

    def figures(self, drawn: Drawn, references: Sequence[Tensor] = ()) -> dict[str, Figure]:
        """One picture, ``points``: the draws beside as many points of the roll."""
        from cvae.tasks.point_figures import plane_figure

        draws = drawn.x.detach().cpu().flatten(0, 1)
        true = self.sample(len(draws), stream(Purpose.SIMULATION, 0, 1))
        return {"points": plane_figure({"swiss roll": true, "draws": draws})}

    def conditions(self, values: Sequence[float]) -> Tensor:
        """One empty condition ``(1, 0)``.

        Raises:
            UserError: for any number, since nothing is given.
        """
        if len(values) > 0:
            raise UserError("a swiss roll has no condition; leave condition out.")
        return torch.empty(1, 0)
