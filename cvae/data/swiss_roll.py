"""Points of a swiss roll, without conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from cvae.data.batches import Batch
from cvae.data.pairs import CountSettings, PairData, Report, Splits, TrainedModel
from cvae.errors import UserError
from cvae.metrics.points import DISTANCES, PointDistances, distances_to_points
from cvae.seeds import Purpose, stream
from cvae.tasks import SwissRoll

if TYPE_CHECKING:
    from cvae.models.langevin import Chains

#: step sizes of the Langevin dynamics that are compared, and draws of each
STEP_SIZES, COMPARED = (0.1, 0.01, 0.001), 1_000
#: of them, whose first steps are shown, and how many steps
PATHS, STEPS_SHOWN = 5, 50
#: samples of the latent, or points of a grid along each axis, for the likelihood of a point
SAMPLES = 400
#: places along each axis at which a density is shown
PIXELS = 200
#: points of each split, of which two parts are compared
LEAST = {"train": 2, "validation": 4, "test": 4}


@runtime_checkable
class Stepping(Protocol):
    """A model of a density that is drawn from in steps of any size."""

    def walk(self, draws: int, generator: torch.Generator, step_size: float | None = None, kept: int = 0) -> Chains:
        """The chains that such draws are the ends of."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of points ``(count, 2)``, ``(count,)``."""

    def curvature(self, x: Tensor) -> Tensor:
        """Largest curvature of the negative log-density at points ``(count, 2)``, ``(count,)``."""


class SwissRollData(PairData):
    """Points of a swiss roll, see :class:`cvae.tasks.SwissRoll`.

    Args:
        batch_size: points per step and process.
        noise: of the roll.
        train, validation, test: number of points of each split.
        evaluation: the arguments of :class:`~cvae.data.pairs.Counts`.
        seed: fixes the points and their order.

    Raises:
        UserError: for a number that makes no sense; the message names the entry.
    """

    measured = (*(f"{name}{of}" for name in DISTANCES for of in ("", "_real", "_ratio")), "diverged")
    lower_is_better = tuple(name for name in measured if not name.endswith("_real"))

    def __init__(
        self,
        batch_size: int,
        noise: float = 1.0,
        train: int = 20_000,
        validation: int = 2_000,
        test: int = 10_000,
        evaluation: CountSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.roll = SwissRoll(noise)
        super().__init__(self.roll, batch_size, evaluation, seed)
        self.sizes = {"train": train, "validation": validation, "test": test}
        for name, size in self.sizes.items():
            if size < LEAST[name]:
                raise UserError(f"data.{name} is {size}; it must be at least {LEAST[name]}.")

    @staticmethod
    def make_task(config: Mapping[str, Any]) -> SwissRoll:
        """The task that a config of this class describes; entries about its points are passed over."""
        return SwissRoll(**{name: config[name] for name in ("noise",) if name in config})

    def load(self) -> Splits:
        """All points."""
        splits = []
        for number, size in enumerate(self.sizes.values()):
            x = self.roll.sample(size, stream(Purpose.SIMULATION, self.seed, 2 + number))
            splits.append(Batch(x, torch.empty(size, 0)))
        return Splits(*splits)

    def measures(self, stage: str, draws: int) -> MetricCollection:
        """Distances of the draws to the points of ``stage``, see :func:`cvae.metrics.points.distances_to_points`."""
        return MetricCollection({"distances": PointDistances(getattr(self.splits, stage).x)})

    @torch.no_grad()
    def report(self, model: TrainedModel) -> Report:
        """The likelihood of the test points, and of a model that draws in steps, what their size does.

        The measures: in nats ``log_likelihood``, ``true_log_likelihood`` of the roll's density, and their difference
        ``log_likelihood_gap``; for each of the step sizes 0.1, 0.01 and 0.001, with 1,000 draws and the steps of the
        model's evaluation, ``eps_SIZE/NAME`` with what :func:`distances_to_points` gives; ``curvature``, the median at
        the test points of that of the energy, of which two over the step size is the most that steps can follow.
        """
        test = Batch(*(part.to(model.device) for part in self.splits.test))
        found = float(model.log_likelihood(test, SAMPLES).mean())
        true = float(self.roll.log_prob(test.x).mean())
        measures = {"log_likelihood": found, "true_log_likelihood": true, "log_likelihood_gap": true - found}
        if not isinstance(model, Stepping):
            return Report(measures)
        measures["curvature"] = float(model.curvature(test.x[:COMPARED]).median())
        chains = {}
        for number, size in enumerate(STEP_SIZES):
            generator = stream(Purpose.EVALUATION, self.seed, 2, number)
            chains[size] = model.walk(COMPARED, generator, size, STEPS_SHOWN)
            distances = distances_to_points(chains[size].x.cpu(), self.splits.test.x.cpu())
            measures |= {f"eps_{size}/{name}": value for name, value in distances.items()}
        return Report(measures, {"langevin": self._figure(model, chains)})

    def _figure(self, model: Stepping, chains: Mapping[float, Chains]) -> Any:
        from cvae.tasks.point_figures import density_figure

        true = self.splits.test.x[:COMPARED].cpu()
        places = torch.linspace(-1, 1, PIXELS) * 1.6 * float(true.abs().max())
        grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)
        density = model.log_prob(grid.flatten(0, 1).to(self.splits.test.x)).exp().view(PIXELS, PIXELS).cpu()
        clouds = {f"step size {size}": ends.x.cpu() for size, ends in chains.items()}
        paths = {f"step size {size}": ends.path[:, :PATHS].cpu() for size, ends in chains.items()}
        return density_figure({"test points": true} | clouds, paths, density, places)
