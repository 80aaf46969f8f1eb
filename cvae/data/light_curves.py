"""The data module of light curves: splits by map, and measures that need the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from cvae.data.batches import Batch
from cvae.data.curve_sources import Curves, Source
from cvae.data.pairs import CountSettings, PairData, Report, Splits, TrainedModel
from cvae.metrics import CurveRatios, curve_ratios
from cvae.metrics.curves import RATIOS
from cvae.seeds import Purpose, stream
from cvae.tasks import LightCurves
from cvae.tasks.light_curves import neighbour_order, projected

#: draws of a condition that are compared outside the training, and curves of the projection
COMPARED, PROJECTED = 4, 1_000
#: source radii of which curves are drawn
SHOWN = (0.01, 0.03, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class LightCurveData(PairData):
    """Light curves and their source radii.

    Args:
        source: :class:`SimulatedCurves` or :class:`CurveFiles`.
        points: of a curve.
        radii: range of the source radii of the training; None if not known.
        projection: of the latent's picture: ``tsne``, or ``umap``, which the extra ``umap`` installs.
        batch_size, evaluation, seed: see :class:`cvae.data.PairData`.
        cache: folder in which simulated maps and curves are kept; None makes them anew.

    Raises:
        UserError: for a number that makes no sense; the message names the entry.
    """

    measured = tuple(f"{name}_ratio" for name in RATIOS)
    lower_is_better = measured

    def __init__(
        self,
        source: Source,
        points: int,
        batch_size: int,
        radii: Sequence[float] | None = None,
        projection: Literal["tsne", "umap"] = "tsne",
        evaluation: CountSettings | None = None,
        cache: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(LightCurves(points, radii), batch_size, evaluation, seed)
        self.source = source
        self.projection = projection
        self.cache = None if cache is None else Path(cache) / "light_curves"
        self._sets: dict[str, Curves] = {}

    @staticmethod
    def make_task(config: Mapping[str, Any]) -> LightCurves:
        """The task that a config of this class describes; entries about its curves are passed over."""
        return LightCurves(**{name: config[name] for name in ("points", "radii") if name in config})

    @property
    def sets(self) -> dict[str, Curves]:
        """All curves by the name of their set, on the CPU."""
        if not self._sets:
            assert isinstance(self.task, LightCurves)
            self._sets = self.source.load(self.task, self.cache)
        return self._sets

    def load(self) -> Splits:
        """Training, validation and test curves."""
        return Splits(*(Batch(self.sets[name].x, self.sets[name].y) for name in ("train", "validation", "test")))

    def measures(self, stage: str, draws: int) -> MetricCollection:
        """Distances of the draws to the real curves, see :class:`cvae.metrics.CurveRatios`."""
        curves = self.sets[stage]
        count = len(self.conditions(stage).y)
        return MetricCollection({"curves": CurveRatios(curves.x[:count], curves.y[:count], curves.first[:count])})

    @torch.no_grad()
    def report(self, model: TrainedModel) -> Report:
        """The same distances outside the range of the training, pictures over all p, and a projection of the latent."""
        from cvae.tasks.curve_figures import curves_figure, projection_figure, trend_figure

        task, generator = self.task, stream(Purpose.EVALUATION, self.seed, 2)
        assert isinstance(task, LightCurves)
        sets = {name: curves for name, curves in self.sets.items() if name not in ("train", "validation")}
        measures: dict[str, float] = {}
        for name, curves in sets.items():
            if name != "test":
                draws = model.draw(curves.y, COMPARED, generator)
                found = curve_ratios(draws, curves.x, curves.y, curves.first)
                measures |= {f"{name}/{key}_ratio": value for key, value in found.items()}
        y = task.conditions(SHOWN)
        few = task.drawn(torch.arange(len(y)), model.draw(y, 8, generator), y)
        every = torch.linspace(math.log10(SHOWN[0]), math.log10(SHOWN[-1]), 19).unsqueeze(1)
        many = task.drawn(torch.arange(len(every)), model.draw(every, 100, generator), every)
        real = [(curves.x, curves.y) for curves in sets.values()]
        test = Batch(*(part[:PROJECTED] for part in self.sets["test"][:2]))
        places = projected(model.network.reconstruct(*test).code, self.projection)
        measures["latent_order"], measures["latent_order_shuffled"] = neighbour_order(places, test.y[:, 0])
        title = (
            f"latent of test curves ({self.projection}): rank correlation of p with that of\nneighbours "
            f"{measures['latent_order']:.2f}; with p shuffled {measures['latent_order_shuffled']:.2f}"
        )
        figures = {
            "curves_over_p": curves_figure(task, few, _alike(y, real)),
            "extrapolation": trend_figure(task, many, real),
            "latent": projection_figure(places, test.y, title),
        }
        return Report(measures, figures)


def _alike(y: Tensor, real: Sequence[tuple[Tensor, Tensor]]) -> dict[int, Tensor]:
    """Real curves of about the same source radius (to a tenth) for each condition that has some, by its number."""
    xs, ys = torch.cat([x for x, _ in real]), torch.cat([y for _, y in real])[:, 0]
    near = {number: xs[(ys - one).abs() < 0.04] for number, one in enumerate(y[:, 0])}
    return {number: curves for number, curves in near.items() if len(curves)}
