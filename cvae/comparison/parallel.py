"""Parallel coordinates: one line per run, through its settings to its measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from cvae.comparison.records import Run
from cvae.comparison.scales import Scale, scale_of
from cvae.comparison.table import Comparison

INK = "#333333"


def draw_parallel(
    axes: Axes,
    comparison: Comparison,
    runs: Sequence[Run],
    settings: Sequence[str],
    measures: Sequence[str],
    colour: Callable[[float], Any],
) -> None:
    """Draw runs, given best first, as lines; the best one is drawn broad and on top.

    Args:
        axes: to draw on.
        comparison: tells the settings of the runs.
        runs: which have the first of ``measures``.
        settings: the vertical axes on the left.
        measures: the vertical axes on the right.
        colour: of a value of the first measure.
    """
    scales = [scale_of([comparison.setting(run, name) for run in runs]) for name in settings]
    heights = [_height(scale) for scale in scales] + [_linear(runs, measure)[0] for measure in measures]
    labels = [_ticks(scale) for scale in scales] + [_linear(runs, measure)[1] for measure in measures]
    for index in reversed(range(len(runs))):
        points = np.array([[place, height[index]] for place, height in enumerate(heights)])
        best = index == 0
        axes.add_patch(
            PathPatch(
                _smooth(points[np.isfinite(points[:, 1])]),
                facecolor="none",
                edgecolor=colour(runs[index].measures[measures[0]]),
                linewidth=3.0 if best else 1.4,
                alpha=1.0 if best else 0.75,
                zorder=4 if best else 2,
            )
        )
    for place, ((where, texts), name) in enumerate(zip(labels, [*settings, *measures], strict=True)):
        axes.plot([place, place], [-0.04, 1.04], color=INK, linewidth=1.0, zorder=3, solid_capstyle="round")
        for height, text in zip(where, texts, strict=True):
            axes.plot([place - 0.012, place + 0.012], [height, height], color=INK, linewidth=1.0, zorder=5)
            axes.text(
                place + 0.025, height, text, fontsize=8, va="center", ha="left", color=INK, zorder=6,
                bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
        weight = "bold" if place < len(settings) else "normal"
        axes.text(place, 1.09, name, ha="center", va="bottom", fontsize=9, fontweight=weight, color=INK)
    axes.set_xlim(-0.15, len(heights) - 1 + 0.35)
    axes.set_ylim(-0.06, 1.18)
    axes.set_axis_off()


def _height(scale: Scale) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Heights from 0 to 1; lines through the same value are spread a little, so that none hides another."""
    low, high = scale.extent
    return (scale.spread(0.03) - low) / (high - low) if high > low else np.full(len(scale.places), 0.5)


def _ticks(scale: Scale) -> tuple[list[float], list[str]]:
    low, high = scale.extent
    return [(tick - low) / (high - low) if high > low else 0.5 for tick in scale.ticks], scale.labels


def _linear(runs: Sequence[Run], measure: str) -> tuple[Any, tuple[list[float], list[str]]]:
    values = np.array([run.measures.get(measure, math.nan) for run in runs])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if high <= low:
        return np.where(np.isfinite(values), 0.5, math.nan), ([0.5], [f"{low:.3g}"])
    ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    heights = [float(tick - low) / (high - low) for tick in ticks]
    return (values - low) / (high - low), (heights, [f"{tick:.4g}" for tick in ticks])


def _smooth(points: np.ndarray[Any, np.dtype[np.float64]]) -> Path:
    """A path that leaves and meets every axis level."""
    vertices, codes = [tuple(points[0])], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        vertices += [(middle, y0), (middle, y1), (x1, y1)]
        codes += [Path.CURVE4] * 3
    return Path(vertices, codes)
