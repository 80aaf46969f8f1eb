"""Pictures of solutions and of the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from cvae.problems import Check, Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INVALID = "0.75"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, with a canvas of its own."""
    # built without pyplot: no global state, no window, safe in threads and tests
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def solutions_figure(problem: Problem, x: Tensor, y: Tensor, check: Check) -> Figure:
    """One row per condition: the draws of every line, and f(x') over y; valid draws in colour, invalid ones grey.

    A draw has one colour in all panels of its row, from low to high by the left end of its first line. The band
    around y is as high as the gate of the misfit.

    Args:
        problem: gives f and the gates.
        x: draws ``(batch, draws, lines, points)``.
        y: conditions ``(batch, conditions, points)``.
        check: of the draws.
    """
    lines, conditions, gate = problem.geometry.lines, problem.forward.conditions, problem.gates.rmse
    columns = lines + conditions
    figure = new_figure(2.7 * columns, 2.0 * len(y) + 0.3)
    axes = figure.subplots(len(y), columns, squeeze=False, sharex=True)
    fitted = problem.forward(x).detach().float().cpu().numpy()
    solutions, observed = x.detach().float().cpu().numpy(), y.detach().float().cpu().numpy()
    valid = check.valid.cpu().numpy()
    t = problem.geometry.position().numpy()
    for row in range(len(y)):
        colors = _colors(solutions[row, :, 0, 0], valid[row])
        for line in range(lines):
            _curves(axes[row, line], t, solutions[row, :, line], valid[row], colors)
            axes[row, line].set_ylim(*_padded(problem.geometry.range, 0.03 * problem.geometry.span))
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
    return figure


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


def categories_figure(codes: Tensor, endpoints: Tensor) -> Figure:
    """Which value of a categorical latent goes with which line: the endpoints of each line, coloured by the latent.

    Args:
        codes: one-hot, ``(samples, components)``.
        endpoints: ``(samples, lines, 2)``.
    """
    chosen, places = codes.argmax(1).cpu().numpy(), endpoints.detach().float().cpu().numpy()
    # neighbouring numbers mean nothing, so their colours must not look alike
    colours = np.random.default_rng(0).permutation(codes.shape[1])[chosen]
    lines = places.shape[1]
    figure = new_figure(3.9 * lines, 3.6)
    for line, axis in enumerate(figure.subplots(1, lines, squeeze=False)[0]):
        axis.scatter(places[:, line, 0], places[:, line, 1], c=colours, s=6, cmap="nipy_spectral")
        axis.set_xlabel(f"left endpoint of x{line}")
        axis.set_ylabel(f"right endpoint of x{line}")
        axis.set_title(f"{len(np.unique(chosen))} of {codes.shape[1]} components in use", fontsize=9)
    return figure


def latent_figure(codes: Tensor, endpoints: Tensor) -> Figure:
    """Posterior means in the two latent dimensions that vary most, coloured by each line's left endpoint.

    Args:
        codes: ``(samples, latent_dim)``.
        endpoints: ``(samples, lines, 2)``.
    """
    values, colours = codes.detach().float().cpu().numpy(), endpoints.detach().float().cpu().numpy()
    order = np.argsort(-values.var(axis=0), kind="stable")
    first, second = order[0], order[min(1, len(order) - 1)]
    lines = colours.shape[1]
    figure = new_figure(4.2 * lines, 3.6)
    for line, axis in enumerate(figure.subplots(1, lines, squeeze=False)[0]):
        points = axis.scatter(values[:, first], values[:, second], c=colours[:, line, 0], s=5, cmap="viridis")
        axis.set_xlabel(f"z[{first}]")
        axis.set_ylabel(f"z[{second}]")
        figure.colorbar(points, ax=axis, label=f"left endpoint of x{line}")
    return figure
