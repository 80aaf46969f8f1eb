"""Pictures of solutions, and the figure that every picture is drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from cvae.metrics.records import Check, Drawn
from cvae.tasks.lines import Lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cvae.tasks.problem import Problem

INVALID, REFERENCE = "0.75", "tab:orange"
#: parameters of a vector that a scatter matrix shows at most, and reference solutions in each of its panels
LARGEST_MATRIX, REFERENCES = 8, 1_000
#: reference solutions that are shown as rings around the draws; more are shown as dots below them
FEW = 50
#: conditions of a vector whose f(x') is shown against y at most
LARGEST_ROW = 4


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, with a canvas of its own."""
    # built without pyplot: no global state, no window, safe in threads and tests
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def line_figures(problem: Problem, drawn: Drawn) -> dict[str, Figure]:
    """One row per condition: the draws of every line, and f(x') over y; valid draws in colour, invalid ones grey.

    A draw has one colour in all panels of its row, from low to high by the left end of its first line. The band
    around y is as high as the gate of the misfit.

    Args:
        problem: gives f and the gates.
        drawn: draws ``(batch, draws, lines, points)`` of a few conditions, with their check.
    """
    space, x, y, check = cast(Lines, problem.space), drawn.x, drawn.y, cast(Check, drawn.check)
    lines, conditions, gate = space.lines, problem.forward.conditions, problem.gates.rmse
    columns = lines + conditions
    figure = new_figure(2.7 * columns, 2.0 * len(y) + 0.3)
    axes = figure.subplots(len(y), columns, squeeze=False, sharex=True)
    fitted = problem.forward(x).detach().float().cpu().numpy()
    solutions, observed = x.detach().float().cpu().numpy(), y.detach().float().cpu().numpy()
    valid = check.valid.cpu().numpy()
    t = space.position(torch.empty(0)).numpy()
    for row in range(len(y)):
        colors = _colors(solutions[row, :, 0, 0], valid[row])
        for line in range(lines):
            _curves(axes[row, line], t, solutions[row, :, line], valid[row], colors)
            axes[row, line].set_ylim(*_padded(space.range, 0.03 * (space.range[1] - space.range[0])))
        for condition in range(conditions):
            axis, curve = axes[row, lines + condition], observed[row, condition]
            axis.fill_between(t, curve - gate, curve + gate, color="black", alpha=0.08, linewidth=0)
            _curves(axis, t, fitted[row, :, condition], valid[row], colors)
            axis.plot(t, curve, color="black", linewidth=1.2, linestyle="--")
            low, high = float(curve.min()), float(curve.max())
            # never so close that what passes the gate leaves the panel
            axis.set_ylim(*_padded((low, high), max(0.3 * (high - low), 2 * gate)))
        axes[row, 0].set_ylabel(f"{valid[row].sum()} of {len(valid[row])} valid", fontsize=8)
    names = [f"x{line}" for line in range(lines)]
    names += (
        ["f(x') and y (dashed)"] if conditions == 1 else [f"f(x')[{n}] and y[{n}] (dashed)" for n in range(conditions)]
    )
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("t", fontsize=8)
    return {"solutions": figure}


def _colors(order_by: np.ndarray, valid: np.ndarray) -> list[Any]:
    """A colour per draw: along the palette by rank, grey for invalid ones."""
    from matplotlib import colormaps

    palette = colormaps["viridis"](np.linspace(0, 0.9, len(order_by)))
    ranks = np.argsort(np.argsort(order_by, kind="stable"), kind="stable")
    return [palette[rank] if good else INVALID for rank, good in zip(ranks, valid, strict=True)]


def _curves(axis: Axes, t: np.ndarray, curves: np.ndarray, valid: np.ndarray, colors: list[Any]) -> None:
    from matplotlib.collections import LineCollection

    # invalid ones first, so that they lie below
    order = np.argsort(valid, kind="stable")
    segments = np.stack(np.broadcast_arrays(t, curves[order]), axis=-1)
    # one collection: a line each would take most of the time of a picture
    chosen = [colors[number] for number in order]
    axis.add_collection(LineCollection(list(segments), colors=chosen, linewidths=0.9, alpha=0.85))
    axis.autoscale_view()


def _padded(bounds: tuple[float, float], pad: float) -> tuple[float, float]:
    low, high = bounds
    return low - pad, high + pad


def vector_figures(problem: Problem, drawn: Drawn, references: Sequence[Tensor] = ()) -> dict[str, Figure]:
    """For each condition a scatter matrix of the draws beside its reference set; and f(x') against y of them all.

    Args:
        problem: gives f, space and gates.
        drawn: draws ``(batch, draws, parameters)`` of a few conditions, with their check.
        references: reference solutions ``(count, parameters)`` of the first of these conditions.
    """
    figures = {}
    for row in range(len(drawn.y)):
        reference = references[row] if row < len(references) else drawn.x[row, :0]
        figures[f"solutions_{row}"] = _scatter_matrix(problem, drawn, row, reference)
    return figures | {"forward": _forward_against_y(problem, drawn)}


def _scatter_matrix(problem: Problem, drawn: Drawn, row: int, reference: Tensor) -> Figure:
    size = min(problem.space.parameters, LARGEST_MATRIX)
    x, valid = drawn.x[row].detach().float().cpu().numpy(), cast(Check, drawn.check).valid[row].cpu().numpy()
    known = reference[:REFERENCES].detach().float().cpu().numpy()
    names, bounds = problem.space.names, problem.space.bounds
    rings = {"s": 45, "facecolors": "none", "edgecolors": REFERENCE, "linewidths": 1.2, "zorder": 3}
    dots = {"s": 3, "color": REFERENCE, "alpha": 0.5, "linewidths": 0, "zorder": 0}
    marks: dict[str, Any] = rings if len(known) <= FEW else dots
    side = max(1.5 * size, 3.8)
    figure = new_figure(side, side + 0.6)
    grid = figure.add_gridspec(size, size)
    for line in range(size):
        for column in range(line + 1):
            axis, (low, high) = figure.add_subplot(grid[line, column]), bounds[column]
            axis.set_xlim(*_padded((low, high), 0.03 * (high - low)))
            if column == line:
                shared: dict[str, Any] = {"bins": np.linspace(low, high, 26), "density": True}
                if len(known):
                    axis.hist(known[:, column], histtype="stepfilled", color=REFERENCE, alpha=0.4, **shared)
                if valid.any():
                    axis.hist(x[valid, column], histtype="step", color="tab:blue", **shared)
                axis.set_yticks([])
                if size > 1:
                    axis.set_title(names[line], fontsize=8)
            else:
                axis.scatter(x[~valid, column], x[~valid, line], s=10, marker="x", color=INVALID, linewidths=0.8)
                axis.scatter(known[:, column], known[:, line], **marks)
                axis.scatter(x[valid, column], x[valid, line], s=10, color="tab:blue", linewidths=0)
                low, high = bounds[line]
                axis.set_ylim(*_padded((low, high), 0.03 * (high - low)))
            _few_ticks(axis)
            axis.tick_params(labelleft=column == 0, labelbottom=line == size - 1)
            if line == size - 1:
                axis.set_xlabel(names[column], fontsize=8)
            else:
                axis.xaxis.get_offset_text().set_visible(False)
            if column == 0 and line > 0:
                axis.set_ylabel(names[line], fontsize=8)
            else:
                axis.yaxis.get_offset_text().set_visible(False)
    y = ", ".join(f"{value:.3g}" for value in drawn.y[row].flatten()[:4].tolist())
    more = ", ..." if drawn.y[row].numel() > 4 else ""
    title = [
        f"y = {y}{more}",
        f"{valid.sum()} of {len(valid)} draws valid (blue; invalid grey)",
    ]
    if len(known):
        title.append(f"{len(known)} reference solutions (orange)")
    if size < problem.space.parameters:
        title.append(f"the first {size} of {problem.space.parameters} parameters")
    figure.suptitle("\n".join(title), fontsize=8)
    return figure


def _few_ticks(axis: Axes) -> None:
    """Three or four ticks of few digits along each axis."""
    axis.tick_params(labelsize=7)
    axis.locator_params(axis="x", nbins=4)
    axis.ticklabel_format(axis="x", scilimits=(-2, 3))
    axis.xaxis.get_offset_text().set_fontsize(7)
    if len(axis.get_yticks()):
        axis.locator_params(axis="y", nbins=4)
        axis.ticklabel_format(axis="y", scilimits=(-2, 3))
        axis.yaxis.get_offset_text().set_fontsize(7)


def _forward_against_y(problem: Problem, drawn: Drawn) -> Figure:
    """One panel per condition: f(x') of all draws against y."""
    gate, valid = problem.gates.rmse, cast(Check, drawn.check).valid.cpu()
    fitted = problem.by_condition(problem.forward(drawn.x)).detach().float().cpu()
    given = problem.by_condition(drawn.y).unsqueeze(1).expand_as(fitted).detach().float().cpu()
    panels = min(problem.forward.conditions, LARGEST_ROW)
    figure = new_figure(3.6 * panels + 0.6, 3.8)
    for number, axis in enumerate(figure.subplots(1, panels, squeeze=False)[0]):
        y, found = given[:, :, number], fitted[:, :, number]
        low, high = float(y.min()), float(y.max())
        edge = np.array(_padded((low, high), max(0.1 * (high - low), 3 * gate)))
        axis.fill_between(edge, edge - gate, edge + gate, color="black", alpha=0.1, linewidth=0, label="gate")
        axis.plot(edge, edge, color="black", linewidth=0.8, linestyle="--")
        for mask, colour, label in ((~valid, INVALID, "invalid"), (valid, "tab:blue", "valid")):
            axis.scatter(y[mask].flatten(), found[mask].flatten(), s=8, color=colour, linewidths=0, label=label)
        name = "" if problem.forward.conditions == 1 else f"[{number}]"
        axis.set_xlabel(f"y{name}", fontsize=8)
        axis.set_ylabel(f"f(x'){name}", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7)
    figure.suptitle("f(x') of all draws against y", fontsize=9)
    return figure


def image_figure(images: Tensor) -> Figure:
    """Grey images side by side on black, without axes.

    Args:
        images: grey values in [0, 1], ``(rows, columns, height, width)``.
    """
    rows, columns, height, width = images.shape
    padded = torch.nn.functional.pad(images.detach().float().cpu(), (1, 1, 1, 1))
    sheet = padded.permute(0, 2, 1, 3).reshape(rows * (height + 2), columns * (width + 2))
    figure = new_figure(0.6 * columns, 0.6 * rows)
    figure.set_layout_engine("none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(sheet.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axis.set_axis_off()
    return figure
