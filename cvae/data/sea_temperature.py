"""Daily sea-surface temperatures at six stations and their dates, split by time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from cvae.data.batches import Batch
from cvae.data.pairs import CountSettings, PairData, Report, Splits, TrainedModel
from cvae.data.sea_series import Series, ages, read_series, simulated_series
from cvae.errors import UserError
from cvae.metrics import SampleDistances, sample_distances
from cvae.seeds import Purpose, stream
from cvae.tasks import SeaTemperature

if TYPE_CHECKING:
    from cvae.models import Sampler

#: years at the end of a series that are held out for the test
TEST_YEARS = 3
#: of the years before, counted from the end of the series, every fifth is one of the validation, first the eighth
EVERY, VALIDATION = 5, 2
#: draws of each day that are measured once
DRAWS = 10
#: days before and after a day of the year of which the training days are drawn
NEAR = 7


def sea_measures(sampler: Sampler, pairs: Batch, draws: int, generator: torch.Generator) -> dict[str, float]:
    """``anderson_darling``, ``kendall_error`` and ``energy_score`` of a sampler, see
    :func:`cvae.metrics.sample_distances`.

    Args:
        sampler: draws temperatures for dates.
        pairs: held-out days.
        draws: for each of them, at least 2; all together are one sample for the first two measures.
        generator: source of all randomness.
    """
    return sample_distances(sampler.draw(pairs.y, draws, generator), pairs.x)


class TrainingDays:
    """Draws from the training days themselves: those at most a week from the same day of the year, of all years.

    A :class:`~cvae.models.Sampler`; what a model must beat to be worth it.

    Args:
        train: the training days, of which some are near each day of the year.
    """

    def __init__(self, train: Batch) -> None:
        self.train = train

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Temperatures ``(batch, draws, 6)`` for dates ``(batch, 3)``."""
        # the cosine of the angle between two days of the year
        near = y[:, :2] @ self.train.y[:, :2].T >= math.cos(2 * math.pi * (NEAR + 0.5) / 365.25)
        return self.train.x[torch.multinomial(near.float(), draws, replacement=True, generator=generator)]


class SeaTemperatureData(PairData):
    """Days of a series of temperatures at six stations, see :class:`cvae.tasks.SeaTemperature`.

    The last three years are the test. Of the years before, every fifth is one of the validation, as a whole, since
    neighbouring days are alike; the others are for training. Years are counted back from the last day.

    Args:
        batch_size: days per step and process.
        file: CSV file, see :func:`cvae.data.sea_series.read_series`; None simulates.
        year_noise: standard deviation in years of normal noise that is added to the year of a training day as the
            network sees it. It keeps a network from knowing single years by heart, and makes what it learns of the year
            a smooth trend that goes on beyond the training.
        evaluation: the arguments of :class:`~cvae.data.pairs.Counts`.
        seed: fixes the simulation, the order of the days and their noise.

    Raises:
        UserError: for a number that makes no sense; the message names the entry.
    """

    measured = ("anderson_darling", "kendall_error", "energy_score")
    lower_is_better = measured

    def __init__(
        self,
        batch_size: int,
        file: str | None = None,
        year_noise: float = 0.0,
        evaluation: CountSettings | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(SeaTemperature(), batch_size, evaluation, seed)
        if not 0 <= year_noise < math.inf:
            raise UserError(f"data.year_noise is {year_noise}; it must be a number of years, at least 0.")
        for name in ("validation", "test"):
            if getattr(self.counts, name) < 2:
                raise UserError(f"data.evaluation.{name} is 1; the dependence of the stations needs at least 2 days.")
        self.file, self.year_noise = file, year_noise

    @staticmethod
    def make_task(config: Mapping[str, Any]) -> SeaTemperature:
        """The task; all of these data have the same."""
        return SeaTemperature()

    def load(self) -> Splits:
        """All days; those of training and validation in random order, the test in the order of time."""
        series = simulated_series(self.seed) if self.file is None else read_series(self.file)
        splits = split_by_time(series)
        return splits._replace(train=self._shuffled(splits.train), validation=self._shuffled(splits.validation))

    def _shuffled(self, pairs: Batch) -> Batch:
        """Pairs in random order: a scaler looks at the first of the training, a picture at those of the validation."""
        order = torch.randperm(len(pairs.x), generator=stream(Purpose.SIMULATION, self.seed, 1))
        return Batch(pairs.x[order], pairs.y[order])

    def perturbed(self) -> Callable[[Tensor, torch.Generator], Tensor] | None:
        """Dates with noise in the year."""
        if self.year_noise == 0:
            return None

        def perturb(y: Tensor, generator: torch.Generator) -> Tensor:
            noise = torch.randn(len(y), generator=generator, device=y.device)
            return torch.cat([y[:, :2], (y[:, 2] + self.year_noise * noise).unsqueeze(1)], dim=1)

        return perturb

    def measures(self, stage: str, draws: int) -> MetricCollection:
        """Distances of the draws to the days of ``stage``, see :class:`cvae.metrics.SampleDistances`.

        Raises:
            UserError: for a single draw for each day, which has no energy score.
        """
        if draws < 2:
            raise UserError(f"evaluation.draws is {draws}; the energy score needs at least 2.")
        return MetricCollection({"days": SampleDistances(self.conditions(stage).x)})

    @torch.no_grad()
    def report(self, model: TrainedModel) -> Report:
        """The distances of the training days of the same season to the test days, named ``NAME_training``, and pictures
        of the draws for the test days."""
        from cvae.tasks.sea_figures import dependence_figure, quantiles_figure, season_figure

        train, _, test = (Batch(*(part.cpu() for part in split)) for split in self.splits)
        known = TrainingDays(train)
        measures = sea_measures(known, test, DRAWS, stream(Purpose.EVALUATION, self.seed, 3))
        y = test.y.to(model.device)
        draws = model.draw(y, DRAWS, stream(Purpose.EVALUATION, self.seed, 2)).cpu()
        days = known.draw(test.y, DRAWS, stream(Purpose.EVALUATION, self.seed, 3))
        figures = {
            "season": season_figure(draws, test.x, test.y),
            "quantiles": quantiles_figure({"draws": draws, "training days": days}, test.x),
            "dependence": dependence_figure({"draws": draws, "training days": days}, test.x),
        }
        return Report({f"{name}_training": value for name, value in measures.items()}, figures)


def split_by_time(series: Series) -> Splits:
    """Training, validation and test days of a series, each in the order of time; see :class:`SeaTemperatureData`."""
    age = torch.from_numpy(ages(series.dates))
    pairs = Batch(series.x, series.y)
    test, validation = age < TEST_YEARS, (age >= TEST_YEARS) & (age % EVERY == VALIDATION)
    return Splits(*(Batch(*(part[some] for part in pairs)) for some in (~test & ~validation, validation, test)))
