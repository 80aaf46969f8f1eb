"""Pictures of light curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from cvae.metrics.curves import PEAKS, peaks
from cvae.metrics.records import Drawn
from cvae.tasks.figures import BLUE, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cvae.tasks.light_curves import LightCurves

#: curves in a panel at most, and panels in a row
CURVES, COLUMNS = 8, 4
#: of the quantities in :data:`cvae.metrics.curves.PEAKS`
UNITS = ("dex", "share of the track", "number")
INSIDE, OUTSIDE, REAL = BLUE, RED, "0.6"


def curves_figure(task: LightCurves, drawn: Drawn, real: Mapping[int, Tensor] | None = None) -> Figure:
    """A panel for each condition: draws in blue, or in red where p is outside the training, over real curves in grey.

    Args:
        task: knows the range of the training.
        drawn: draws ``(batch, draws, points)``.
        real: curves ``(count, points)`` of about the same p, by the number of the condition.
    """
    count = len(drawn.y)
    columns, rows = min(count, COLUMNS), math.ceil(count / COLUMNS)
    figure = new_figure(3.2 * columns, 2.3 * rows + 0.3)
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    time = np.linspace(0, 1, task.points)
    for number, (axis, draws, y) in enumerate(zip(axes, drawn.x, drawn.y, strict=False)):
        p = float(10 ** y[0])
        outside = task.extrapolates(p)
        for curve in (real or {}).get(number, draws[:0])[:CURVES].cpu():
            axis.plot(time, curve, color=REAL, linewidth=0.8)
        for curve in draws[:CURVES].detach().cpu():
            axis.plot(time, curve, color=OUTSIDE if outside else INSIDE, linewidth=0.8, alpha=0.8)
        axis.set_title(f"p = {p:.3g}" + (", extrapolated" if outside else ""), fontsize=9)
    for axis in axes[count:]:
        axis.set_axis_off()
    grey = "; simulated ones in grey" if real else ""
    figure.suptitle(f"Light curves drawn for each source radius p, in Einstein radii{grey}", fontsize=9)
    figure.supxlabel("time (share of the track)", fontsize=9)
    figure.supylabel("log10 magnification (dimensionless)", fontsize=9)
    return figure


def trend_figure(task: LightCurves, drawn: Drawn, real: Sequence[tuple[Tensor, Tensor]]) -> Figure:
    """Mean peak height, width and number of crossings against p, of draws and of real curves.

    Args:
        task: knows the range of the training, which is shaded.
        drawn: draws ``(batch, draws, points)`` for conditions in rising order.
        real: sets of curves ``(count, points)`` and their conditions ``(count, 1)``.
    """
    # matplotlib takes a second to import
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = new_figure(10.5, 3.4)
    p = (10 ** drawn.y[:, 0]).cpu().numpy()
    made = peaks(drawn.x.flatten(0, 1)).view(*drawn.x.shape[:2], -1).mean(1).numpy()
    outside = np.array([task.extrapolates(float(one)) for one in p])
    truth = [(10 ** float(y.mean()), peaks(x).mean(0).numpy()) for xs, ys in real for x, y in _by_radius(xs, ys)]
    for column, axis in enumerate(figure.subplots(1, len(PEAKS))):
        if task.radii is not None:
            axis.axvspan(*task.radii, color="0.93", label="range of the training")
        axis.scatter(*zip(*((at, values[column]) for at, values in truth), strict=True), s=12, c="black", label="real")
        for mask, color, label in ((~outside, INSIDE, "interpolated"), (outside, OUTSIDE, "extrapolated")):
            if mask.any():
                axis.scatter(p[mask], made[mask, column], s=18, marker="x", color=color, label=label)
        axis.set_xscale("log")
        axis.set_xlabel("source radius p (Einstein radii)", fontsize=8)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_title(PEAKS[column].replace("_", " ") + ", mean", fontsize=9)
        axis.set_ylabel(UNITS[column], fontsize=8)
        axis.tick_params(labelsize=7)
    axis.legend(fontsize=7)
    figure.suptitle("Peaks of drawn light curves against the source radius, beside simulated ones", fontsize=9)
    return figure


def _by_radius(x: Tensor, y: Tensor, groups: int = 6) -> list[tuple[Tensor, Tensor]]:
    """Curves and conditions in groups of similar p."""
    order = y[:, 0].argsort()
    return [(x[part].cpu(), y[part].cpu()) for part in order.tensor_split(min(groups, len(y)))]


def projection_figure(places: np.ndarray, y: Tensor, title: str) -> Figure:
    """A two-dimensional projection of the latent ``(count, 2)``, coloured by log10 p, ``y`` ``(count, 1)``."""
    figure = new_figure(5.2, 4.4)
    axis = figure.subplots()
    points = axis.scatter(places[:, 0], places[:, 1], c=y[:, 0].cpu().numpy(), s=6, cmap="viridis")
    figure.colorbar(points, ax=axis, label="log10 of the source radius p (Einstein radii)")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=8)
    return figure
