"""Pictures of temperatures at stations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cvae.metrics.dependence import kendall_values
from cvae.metrics.distributions import anderson_darling
from cvae.metrics.records import Drawn
from cvae.tasks.figures import new_figure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: panels in a row, and pieces that a year is divided into
COLUMNS, PIECES = 3, 36
COLOURS, OBSERVED = ("tab:blue", "tab:orange"), "black"
#: draws of each day whose Kendall function is shown, which takes time with their square
FEW = 2
#: share of the draws below each edge of a band
EDGES = (0.05, 0.5, 0.95)


def draws_figure(drawn: Drawn) -> Figure:
    """A panel for each date: the draws at each station side by side, with their mean."""
    figure, axes = _panels(len(drawn.x))
    for axis, draws, y in zip(axes, drawn.x.detach().cpu(), drawn.y.cpu(), strict=True):
        shifts = np.linspace(-0.25, 0.25, len(draws))
        for number, values in enumerate(draws.T, start=1):
            axis.scatter(number + shifts, values, s=6, color=COLOURS[0], alpha=0.6, linewidths=0)
            axis.plot([number - 0.3, number + 0.3], [values.mean()] * 2, color=OBSERVED, linewidth=1)
        axis.set_title(f"{_date(float(y[2]))}: {len(draws)} draws and their mean", fontsize=8)
        axis.set_xticks(range(1, draws.shape[1] + 1), [f"s{number}" for number in range(1, draws.shape[1] + 1)])
    figure.supxlabel("station", fontsize=9)
    figure.supylabel("temperature (°C)", fontsize=9)
    return figure


def season_figure(draws: Tensor, x: Tensor, y: Tensor) -> Figure:
    """The year at each station: observed days, and the band that holds 90 % of the draws for the same dates.

    Args:
        draws: ``(days, draws, stations)``.
        x: observed ``(days, stations)``.
        y: dates ``(days, 3)``.
    """
    figure, axes = _panels(x.shape[1])
    day = torch.atan2(y[:, 0], y[:, 1]) / (2 * math.pi) % 1
    piece = (day * PIECES).long().clamp_max(PIECES - 1)
    levels = torch.tensor(EDGES)
    bands = torch.stack([draws[piece == part].flatten(0, 1).quantile(levels, dim=0) for part in piece.unique()])
    middle = (piece.unique() + 0.5) / PIECES * 12
    for station, axis in enumerate(axes):
        low, median, high = bands[:, :, station].T
        axis.fill_between(middle, low, high, color=COLOURS[0], alpha=0.25, linewidth=0, label="90 % of the draws")
        axis.plot(middle, median, color=COLOURS[0], linewidth=1.2, label="median of the draws")
        axis.scatter(day * 12, x[:, station], s=2, color=OBSERVED, linewidths=0, label="observed days")
        inside = ((x[:, station] >= low[_place(piece)]) & (x[:, station] <= high[_place(piece)])).float().mean()
        axis.set_title(f"s{station + 1}: {100 * inside:.0f} % of the days inside the band", fontsize=8)
        axis.set_xticks(np.arange(12) + 0.5, list("JFMAMJJASOND"))
    axes[0].legend(fontsize=6, markerscale=3)
    figure.supxlabel("month", fontsize=9)
    figure.supylabel("temperature (°C)", fontsize=9)
    return figure


def quantiles_figure(samples: Mapping[str, Tensor], x: Tensor) -> Figure:
    """Quantiles of samples against those of the observed days, a panel for each station, with the Anderson-Darling
    distance of each.

    Args:
        samples: by name, ``(days, draws, stations)``.
        x: observed ``(days, stations)``.
    """
    figure, axes = _panels(x.shape[1], square=True)
    levels = (torch.arange(100) + 0.5) / 100
    observed = x.quantile(levels, dim=0)
    for (name, draws), colour in zip(samples.items(), COLOURS, strict=False):
        sample = draws.flatten(0, 1)
        found = sample.quantile(levels, dim=0)
        for station, (axis, distance) in enumerate(zip(axes, anderson_darling(sample, x), strict=True)):
            axis.plot(observed[:, station], found[:, station], ".", color=colour, ms=3, label=f"{name}: {distance:.1f}")
    for station, axis in enumerate(axes):
        edge = [float(observed[0, station]), float(observed[-1, station])]
        axis.plot(edge, edge, color=OBSERVED, linewidth=0.8)
        axis.legend(fontsize=6, title="Anderson-Darling distance", title_fontsize=6)
        axis.set_title(f"s{station + 1}", fontsize=8)
    figure.supxlabel("quantiles of the observed days (°C)", fontsize=9)
    figure.supylabel("quantiles of the sample (°C)", fontsize=9)
    return figure


def dependence_figure(samples: Mapping[str, Tensor], x: Tensor) -> Figure:
    """The Kendall function of samples and of the observed days: the share of points below which, in all coordinates,
    lies at most such a share of the others.

    Args:
        samples: by name, ``(days, draws, stations)``.
        x: observed ``(days, stations)``.
    """
    figure = new_figure(4.8, 3.8)
    axis = figure.subplots()
    shown = [("observed days", x, OBSERVED)]
    shown += [
        (name, draws[:, :FEW].flatten(0, 1), colour)
        for (name, draws), colour in zip(samples.items(), COLOURS, strict=False)
    ]
    for name, sample, colour in shown:
        values = kendall_values(sample).sort().values
        axis.step(values, (torch.arange(len(values)) + 1) / len(values), color=colour, linewidth=1.2, label=name)
    axis.set(xlim=(-0.005, 0.3), xlabel="share of days below a day at all stations", ylabel="share of the days")
    axis.set_title("Kendall function", fontsize=9)
    axis.legend(fontsize=8)
    return figure


def _place(piece: Tensor) -> Tensor:
    """Of each piece, its place among those that are there."""
    return torch.unique(piece, return_inverse=True)[1]


def _date(year: float) -> str:
    """The date of a decimal year, as 2006-12-31."""
    first, after = (np.datetime64(str(math.floor(year) + more), "Y").astype("datetime64[D]") for more in (0, 1))
    return str(first + int((year % 1) * (after - first).astype(int)))


def _panels(count: int, *, square: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels in rows of three."""
    columns, rows = min(count, COLUMNS), math.ceil(count / COLUMNS)
    figure = new_figure(3.3 * columns, (3.1 if square else 2.3) * rows + 0.3)
    axes: Iterable[Axes] = figure.subplots(rows, columns, squeeze=False, sharex=not square).flat
    found = list(axes)
    for axis in found:
        axis.tick_params(labelsize=7)
    for axis in found[count:]:
        axis.set_axis_off()
    return figure, found[:count]
