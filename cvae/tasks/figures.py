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

#: colours that colour-blind readers can tell apart (Okabe & Ito 2008, "Color Universal Design")
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
CATEGORIES = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", RED, "#F0E442", "#000000")
INVALID, REFERENCE, VALID = "0.6", ORANGE, BLUE
#: parameters of a vector that a scatter matrix shows at most, and reference solutions in each of its panels
LARGEST_MATRIX, REFERENCES = 8, 1_000
#: reference solutions that are shown as rings around the draws; more are shown as dots below them
FEW = 50
#: conditions of a vector whose f(x') is shown against y at most
LARGEST_ROW = 4
#: misfits are shown up to this many gates; larger ones lie at the edge
GATES = 4.0


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, with a canvas of its own."""
    # built without pyplot: no global state, no window, safe in threads and tests
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def line_figures(problem: Problem, drawn: Drawn) -> dict[str, Figure]:
    """One figure per condition: the draws of every line, f(x') over y, and the misfit of every draw against the gate.

    Valid draws are coloured, invalid ones dotted and grey. A draw has one colour in all panels, from low to high by the
    left end of its first line.

    Args:
        problem: gives f and the gates.
        drawn: draws ``(batch, draws, lines, points)`` of a few conditions, with their check.
    """
    return {f"solutions_{row}": _line_figure(problem, drawn, row) for row in range(len(drawn.y))}


def _line_figure(problem: Problem, drawn: Drawn, row: int) -> Figure:
    space, lines, conditions = cast(Lines, problem.space), problem.space.x_shape[0], problem.forward.conditions
    x, y, check = drawn.x[row].detach(), drawn.y[row], cast(Check, drawn.check).at(row)
    fitted, misfits = problem.forward(x).detach().float().cpu().numpy(), problem.misfits(x, y).float().cpu().numpy()
    curves, observed, valid = x.float().cpu().numpy(), y.float().cpu().numpy(), check.valid.cpu().numpy()
    colors = _colors(curves[:, 0, 0], valid)
    t = space.position(torch.empty(0)).numpy()
    figure = new_figure(3.3 * (lines + conditions), 5.4)
    grid = figure.add_gridspec(2, lines + conditions, height_ratios=(2, 1))
    for line in range(lines):
        axis = figure.add_subplot(grid[:, line])
        _curves(axis, t, curves[:, line], valid, colors)
        axis.set_ylim(*_padded(space.range, 0.03 * (space.range[1] - space.range[0])))
        units = f"data units{_leaving(axis, curves[:, line])}"
        _named(axis, f"line x{line}", "position t (share of the line)", f"x{line} ({units})")
    for condition in range(conditions):
        name = "" if conditions == 1 else f"[{condition}]"
        axis, curve = figure.add_subplot(grid[0, lines + condition]), observed[condition]
        _curves(axis, t, fitted[:, condition], valid, colors)
        axis.plot(t, curve, color="black", linewidth=1.4, linestyle="--")
        low, high = float(curve.min()), float(curve.max())
        # never so close that what passes the gate leaves the panel
        axis.set_ylim(*_padded((low, high), max(0.3 * (high - low), 2 * problem.gates.rmse)))
        units = f"data units{_leaving(axis, fitted[:, condition])}"
        _named(axis, f"f(x'){name}, and y{name} (dashed)", "position t (share of the line)", f"y{name} ({units})")
        axis = figure.add_subplot(grid[1, lines + condition])
        _misfit_strip(axis, misfits[:, condition], valid, colors, problem.gates.rmse)
    figure.suptitle(f"Solutions of condition {row}: {verdict(problem, check)}", fontsize=9)
    return figure


def _named(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)
    axis.tick_params(labelsize=8)


def verdict(problem: Problem, check: Check) -> str:
    """How many draws of one condition are valid, why the others are not, and what gate and misfits are, in three lines.

    Args:
        problem: gives the gates.
        check: of the draws ``(draws,)``.
    """
    gates, misfit = problem.gates, check.misfit
    failed = {"miss y": misfit >= gates.rmse, "leave the range": ~check.in_range}
    if check.straightness is not None and gates.pearson is not None:
        failed["are bent, flat or run the wrong way"] = (check.straightness <= gates.pearson).any(-1)
    reasons = [f"{int(mask.sum())} {name}" for name, mask in failed.items() if mask.any()]
    invalid = f" (grey: invalid; {', '.join(reasons)})" if reasons else ""
    low, middle, high = (float(value) for value in (misfit.min(), misfit.median(), misfit.max()))
    shares = [gates.rmse / value if value > 0 else float("inf") for value in problem.spread]
    spread = " and ".join(f"{share:.2g}" for share in shares)
    of = "the spread of y" if len(shares) == 1 else "the spreads of y"
    return (
        f"{int(check.valid.sum())} of {len(misfit)} draws valid{invalid}\n"
        f"gate: misfit (RMSE of f(x') against y) below {gates.rmse:g}, {spread} of {of}\n"
        f"misfits of the draws {low:.2g} to {high:.2g}, median {middle:.2g}"
    )


def _misfit_strip(axis: Axes, misfit: np.ndarray, valid: np.ndarray, colors: list[Any], gate: float) -> None:
    """A dot for the misfit of each draw, smallest at the bottom, beside a line at the gate."""
    order, edge = np.argsort(misfit, kind="stable"), GATES * gate
    beyond = int((misfit > edge).sum())
    shown = np.minimum(misfit[order], edge)
    for good, mark in ((False, "x"), (True, "o")):
        here = valid[order] == good
        chosen = [colors[number] for number in order[here]]
        axis.scatter(shown[here], np.flatnonzero(here) + 1, c=chosen, marker=mark, s=12, linewidths=0.8, zorder=3)
    axis.axvline(gate, color="black", linewidth=1.2)
    passing = int((misfit < gate).sum())
    axis.set_xlim(-0.03 * edge, max(1.15 * gate, 1.05 * float(shown.max())))
    axis.set_ylim(0, len(misfit) + 1)
    more = f"; {beyond} lie beyond" if beyond else ""
    _named(axis, f"{passing} of {len(misfit)} pass the gate {gate:g}", f"misfit (data units{more})", "draw, by rank")
    axis.locator_params(axis="both", nbins=5)


def _colors(order_by: np.ndarray, valid: np.ndarray) -> list[Any]:
    """A colour per draw: along a perceptually uniform palette by rank, grey for invalid ones."""
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
    styles = ["-" if valid[number] else ":" for number in order]
    axis.add_collection(LineCollection(list(segments), colors=chosen, linestyles=styles, linewidths=0.9, alpha=0.85))
    axis.autoscale_view()


def _leaving(axis: Axes, curves: np.ndarray) -> str:
    """Words on how many curves a panel cuts off, if any."""
    low, high = axis.get_ylim()
    count = int(((curves < low) | (curves > high)).any(-1).sum())
    return f"; {count} outside" if count else ""


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
    side = max(1.6 * size, 5.6)
    figure = new_figure(side, side + 0.9)
    # the misfits lie in the corner that the lower triangle leaves free
    grid = figure.add_gridspec(max(size, 2), size)
    corner = grid[1, 0] if size == 1 else grid[: size // 2, size - size // 2 :]
    misfit, gate = cast(Check, drawn.check).misfit[row].float().cpu().numpy(), problem.gates.rmse
    _misfit_strip(figure.add_subplot(corner), misfit, valid, [VALID if good else INVALID for good in valid], gate)
    for line in range(size):
        for column in range(line + 1):
            axis, (low, high) = figure.add_subplot(grid[line, column]), bounds[column]
            axis.set_xlim(*_padded((low, high), 0.03 * (high - low)))
            if column == line:
                shared: dict[str, Any] = {"bins": np.linspace(low, high, 26), "density": True}
                if len(known):
                    axis.hist(known[:, column], histtype="stepfilled", color=REFERENCE, alpha=0.4, **shared)
                inside = (x[:, column] >= low) & (x[:, column] <= high)
                for mask, colour in ((inside & ~valid, INVALID), (inside & valid, VALID)):
                    if mask.any():
                        axis.hist(x[mask, column], histtype="step", color=colour, **shared)
                axis.set_yticks([])
                if size > 1:
                    axis.set_title(names[line], fontsize=8)
            else:
                axis.scatter(x[~valid, column], x[~valid, line], s=10, marker="x", color=INVALID, linewidths=0.8)
                axis.scatter(known[:, column], known[:, line], **marks)
                axis.scatter(x[valid, column], x[valid, line], s=10, color=VALID, linewidths=0)
                low, high = bounds[line]
                axis.set_ylim(*_padded((low, high), 0.03 * (high - low)))
            _few_ticks(axis)
            axis.tick_params(labelleft=column == 0, labelbottom=line == size - 1)
            if line == size - 1:
                axis.set_xlabel(f"{names[column]} (data units)", fontsize=7)
            else:
                axis.xaxis.get_offset_text().set_visible(False)
            if column == 0 and line > 0:
                axis.set_ylabel(f"{names[line]} (data units)", fontsize=7)
            else:
                axis.yaxis.get_offset_text().set_visible(False)
    y = ", ".join(f"{value:.3g}" for value in drawn.y[row].flatten()[:4].tolist())
    more = ", ..." if drawn.y[row].numel() > 4 else ""
    title = [f"Solutions of condition {row}, y = {y}{more}: {verdict(problem, cast(Check, drawn.check).at(row))}"]
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
    """One panel per condition: f(x') of all draws against y; the gate where y is one number, of which it is a band."""
    gate, valid = problem.gates.rmse, cast(Check, drawn.check).valid.cpu()
    fitted = problem.by_condition(problem.forward(drawn.x)).detach().float().cpu()
    given = problem.by_condition(drawn.y).unsqueeze(1).expand_as(fitted).detach().float().cpu()
    panels = min(problem.forward.conditions, LARGEST_ROW)
    figure = new_figure(3.6 * panels + 0.6, 3.8)
    for number, axis in enumerate(figure.subplots(1, panels, squeeze=False)[0]):
        y, found = given[:, :, number], fitted[:, :, number]
        low, high = float(y.min()), float(y.max())
        edge = np.array(_padded((low, high), max(0.1 * (high - low), 3 * gate)))
        if given.shape[-1] == 1:
            axis.fill_between(edge, edge - gate, edge + gate, color="0.9", linewidth=0, label=f"gate, y ± {gate:g}")
        axis.plot(edge, edge, color="black", linewidth=0.8, linestyle="--")
        for mask, colour, label in ((~valid, INVALID, "invalid"), (valid, VALID, "valid")):
            label = f"{label}, {int(mask.sum())} draws"
            axis.scatter(y[mask].flatten(), found[mask].flatten(), s=8, color=colour, linewidths=0, label=label)
        name = "" if problem.forward.conditions == 1 else f"[{number}]"
        axis.set_xlabel(f"y{name} (data units)", fontsize=8)
        axis.set_ylabel(f"f(x'){name} (data units)", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7)
    many = "" if given.shape[-1] == 1 else f"; gate: RMSE over the {given.shape[-1]} values below {gate:g}"
    figure.suptitle(f"f(x') of all draws against y, exact on the dashed line{many}", fontsize=9)
    return figure


def image_figure(images: Tensor, title: str) -> Figure:
    """Grey images side by side on black, without axes, below a title.

    Args:
        images: grey values in [0, 1], ``(rows, columns, height, width)``.
        title: says what one sees.
    """
    rows, columns, height, width = images.shape
    padded = torch.nn.functional.pad(images.detach().float().cpu(), (1, 1, 1, 1))
    sheet = padded.permute(0, 2, 1, 3).reshape(rows * (height + 2), columns * (width + 2))
    # in inches, with room for the title
    across, down, room = 0.6 * columns, 0.6 * rows, 0.3
    wide, high = max(across, 3.6), down + room
    figure = new_figure(wide, high)
    figure.set_layout_engine("none")
    axis = figure.add_axes((0.5 - 0.5 * across / wide, 0, across / wide, down / high))
    figure.text(0.5, 1 - 0.5 * room / high, title, ha="center", va="center", fontsize=8)
    axis.imshow(sheet.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axis.set_axis_off()
    return figure
