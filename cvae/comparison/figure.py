"""Runs as a picture: measures against each setting, and parallel coordinates where several settings differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from cvae.comparison.parallel import draw_parallel
from cvae.comparison.records import Run
from cvae.comparison.scales import Scale, scale_of
from cvae.comparison.table import Comparison
from cvae.files import replacing

#: measures and settings beyond these are left to the table, so that panels stay legible
MOST_MEASURES, MOST_SETTINGS = 3, 6
INK, GRID = "#333333", "#e4e4e4"
# the lightest tones of a colour map are lost on white
LIGHTEST = 0.12


def draw(comparison: Comparison, title: str = "") -> Figure:
    """The picture of a comparison; runs that have not finished are left out.

    Raises:
        ValueError: if no run has finished.
    """
    measures, settings = comparison.measures[:MOST_MEASURES], comparison.settings[:MOST_SETTINGS]
    runs = [run for run in comparison.runs if measures and math.isfinite(run.measures.get(measures[0], math.nan))]
    if not runs:
        raise ValueError("no run has finished with a measure, so there is nothing to draw.")
    names: list[str | None] = [*settings] if settings else [None]
    parallel = len(settings) > 1
    colour = Colours([run.measures[measures[0]] for run in runs], comparison.higher_is_better)
    width = max(3.0 * len(names), 7.0) + 1.2
    heights = [2.3 * len(measures) + 0.5, 3.6][: 1 + parallel]
    figure = Figure(figsize=(width, sum(heights) + 0.5), dpi=150, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    parts = figure.subfigures(1 + parallel, 1, height_ratios=heights, squeeze=False)[:, 0]
    panels = parts[0].subplots(len(measures), len(names), sharey="row", sharex="col", squeeze=False)
    for column, name in enumerate(names):
        scale = scale_of([run.name if name is None else comparison.setting(run, name) for run in runs])
        for row, measure in enumerate(measures):
            axes = panels[row, column]
            _panel(axes, scale, runs, measure, [colour(run.measures[measures[0]]) for run in runs], name)
            if column == 0:
                axes.set_ylabel(measure, color=INK)
        scale.label(panels[-1, column].xaxis)
        panels[-1, column].set_xlabel(name or "run", color=INK, fontweight="bold")
    if parallel:
        axes = parts[1].subplots()
        draw_parallel(axes, comparison, runs, settings, measures, colour)
        bar = parts[1].colorbar(ScalarMappable(colour.norm, colour.cmap), ax=axes, pad=0.02, aspect=25)
        bar.set_label(measures[0], color=INK)
        bar.outline.set_visible(False)  # type: ignore[operator]
    count = f"{len(runs)} runs" if len(runs) != 1 else "1 run"
    parts[0].suptitle(f"{title}  ({count})" if title else count, x=0.01, ha="left", fontsize=11, color=INK)
    return figure


def save(comparison: Comparison, path: Path, title: str = "") -> None:
    """Draw and write a picture; the ending of ``path`` says which kind.

    Raises:
        ValueError: if there is nothing to draw, or for an unknown ending.
        OSError: if the file cannot be written.
    """
    figure = draw(comparison, title)
    kinds = figure.canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in kinds:
        raise ValueError(f"figure is {path}; its ending must be one of {', '.join(sorted(kinds))}.")
    with replacing(path) as temporary:
        figure.savefig(temporary)


class Colours:
    """From values of a measure to colours, the better the darker."""

    def __init__(self, values: Sequence[float], higher_is_better: bool) -> None:
        low, high = min(values), max(values)
        self.norm = Normalize(low, high if high > low else low + 1)
        shades = colormaps["viridis_r"](np.linspace(LIGHTEST, 1, 256))
        self.cmap = ListedColormap(shades if higher_is_better else shades[::-1])

    def __call__(self, value: float) -> Any:
        return self.cmap(self.norm(value))


def _panel(axes: Axes, scale: Scale, runs: Sequence[Run], measure: str, colours: list[Any], name: str | None) -> None:
    y = np.array([run.measures.get(measure, math.nan) for run in runs])
    axes.scatter(scale.spread(), y, c=colours, s=34, edgecolors="white", linewidths=0.7, zorder=3)
    places = sorted(set(scale.places.tolist()))
    # seeds only repeat a setting, so there is no course to follow; and one run per place is its own mean
    if name is not None and name != "seed" and len(places) < len(runs):
        means = [_mean(y[scale.places == place]) for place in places]
        if scale.ordered:
            axes.plot(places, means, color=INK, linewidth=1.2, alpha=0.7, zorder=2)
        axes.scatter(places, means, marker="_", s=420, color=INK, linewidths=1.6, zorder=4)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.margins(y=0.12)
    scale.limit(axes)


def _mean(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
