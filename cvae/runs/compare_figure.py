"""Figure of a comparison: the measures of each group of runs, with every seed as a point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cvae.errors import UserError
from cvae.files import check_output, replacing
from cvae.runs.compare import Summary, fold

#: problems, measures and groups beyond these are left to the table, so that labels stay legible
MOST_PROBLEMS, MOST_MEASURES, MOST_GROUPS = 6, 4, 20
TITLE_WIDTH, LABEL_WIDTH, LABEL_LINES = 80, 40, 3


def draw(summaries: Sequence[Summary], title: str = "") -> Figure:
    """A row of panels for each problem, one panel per measure; a point per run, a bar at the mean of a group.

    Raises:
        UserError: if no run has finished with a measure.
    """
    drawn = [summary for summary in summaries if summary.mean.size][:MOST_PROBLEMS]
    if not drawn:
        raise UserError("no run has finished with a measure, so there is nothing to draw; figure=null draws nothing.")
    heights = [0.36 * min(len(summary.mean), MOST_GROUPS) + 1.1 for summary in drawn]
    panels = max(min(summary.mean.shape[1], MOST_MEASURES) for summary in drawn)
    # built without pyplot: no global state, no window
    figure = Figure(figsize=(3.2 + 2.3 * panels, sum(heights) + 0.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    what = "each run (point) and the mean of its group (bar)"
    figure.suptitle(f"{title}: {what}" if title else what, fontsize=10)
    parts = figure.subfigures(len(drawn), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, summary in zip(parts, drawn, strict=True):
        _draw_problem(part, summary)
    return figure


def _draw_problem(part: Any, summary: Summary) -> None:
    """Panels of one problem in its part of the figure."""
    groups, measures = summary.groups[:MOST_GROUPS], list(summary.mean)[:MOST_MEASURES]
    best = f"; the best {len(groups)} of {len(summary.groups)}" if len(groups) < len(summary.groups) else ""
    part.suptitle(f"{fold(summary.problem, TITLE_WIDTH)}\n({summary.order}{best})", fontsize=8)
    each = summary.each[summary.each.index.isin(groups.index)]
    # seeds of a group lie a little below one another, so that none hides another
    seeds = groups["seeds"][each.index].to_numpy()
    offsets = each.groupby(level=0).cumcount().to_numpy() - (seeds - 1) / 2
    places = groups.index.get_indexer(each.index) + 0.4 * offsets / seeds
    axes = part.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axis, measure in zip(axes, measures, strict=True):
        axis.scatter(each[measure], places, s=16, alpha=0.7, linewidths=0, zorder=3)
        mean = summary.mean.loc[groups.index, measure]
        axis.scatter(mean, np.arange(len(groups)), marker="|", s=160, color="black", zorder=4)
        axis.set_title(measure, fontsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    axes[0].set_ylim(len(groups) - 0.5, -0.5)
    labels = ["\n".join(fold(name, LABEL_WIDTH).split("\n")[:LABEL_LINES]) for name in groups["run"]]
    axes[0].set_yticks(np.arange(len(groups)), labels)


def check_figure(path: Path) -> None:
    """Check that a figure can be written.

    Raises:
        UserError: for an unknown ending, or a place that cannot be written to.
    """
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in kinds:
        raise UserError(f"figure is {path}; its ending must be one of {', '.join(sorted(kinds))}.")
    check_output("figure", path)


def save(summaries: Sequence[Summary], path: Path, title: str = "") -> None:
    """Draw and write a figure; the ending of ``path`` says which kind.

    Raises:
        UserError: if there is nothing to draw; see also :func:`check_figure`.
        OSError: if the file cannot be written.
    """
    check_figure(path)
    figure = draw(summaries, title)
    with replacing(path) as temporary:
        figure.savefig(temporary)
