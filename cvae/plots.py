"""Pictures of solutions and of the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from cvae.problems import Check, Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INVALID = "0.75"


def _figure(width: float, height: float) -> Figure:
    # built without pyplot: no global state, no window, safe in threads and tests
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def solutions_figure(problem: Problem, x: Tensor, y: Tensor, check: Check) -> Figure:
    """One row per condition: the draws of every line, and f(x') over y; valid draws in colour, invalid ones grey.

    Args:
        problem: gives f.
        x: draws ``(batch, draws, lines, points)``.
        y: conditions ``(batch, conditions, points)``.
        check: of the draws.
    """
    lines, conditions = problem.geometry.lines, problem.forward.conditions
    columns = lines + conditions
    figure = _figure(2.7 * columns, 2.2 * len(y) + 0.3)
    axes = figure.subplots(len(y), columns, squeeze=False)
    fitted = problem.forward(x).detach().float().cpu().numpy()
    solutions, observed = x.detach().float().cpu().numpy(), y.detach().float().cpu().numpy()
    valid = check.valid.cpu().numpy()
    t = problem.geometry.position().numpy()
    for row in range(len(y)):
        for line in range(lines):
            _curves(axes[row, line], t, solutions[row, :, line], valid[row])
            axes[row, line].set_ylim(*_padded(problem.geometry.range))
            axes[row, line].set_title(f"x{line}: {valid[row].sum()} of {len(valid[row])} valid", fontsize=8)
        for condition in range(conditions):
            axis = axes[row, lines + condition]
            _curves(axis, t, fitted[row, :, condition], valid[row])
            axis.plot(t, observed[row, condition], color="black", linewidth=1.2, linestyle="--")
            axis.set_ylim(*_padded((float(observed[row, condition].min()), float(observed[row, condition].max())), 0.3))
            name = "f(x') and y (dashed)" if conditions == 1 else f"f(x')[{condition}] and y[{condition}] (dashed)"
            axis.set_title(name, fontsize=8)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("t", fontsize=8)
    return figure


def _curves(axis: Axes, t: np.ndarray, curves: np.ndarray, valid: np.ndarray) -> None:
    from matplotlib import colormaps

    palette = colormaps["viridis"](np.linspace(0, 0.9, len(curves)))
    # invalid ones first, so that they lie below
    for number in np.argsort(valid, kind="stable"):
        color = palette[number] if valid[number] else INVALID
        axis.plot(t, curves[number], color=color, linewidth=0.9, alpha=0.85)


def _padded(bounds: tuple[float, float], share: float = 0.03) -> tuple[float, float]:
    low, high = bounds
    pad = share * (high - low) if high > low else 0.1
    return low - pad, high + pad


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
    figure = _figure(4.2 * lines, 3.6)
    for line, axis in enumerate(figure.subplots(1, lines, squeeze=False)[0]):
        points = axis.scatter(values[:, first], values[:, second], c=colours[:, line, 0], s=5, cmap="viridis")
        axis.set_xlabel(f"z[{first}]")
        axis.set_ylabel(f"z[{second}]")
        figure.colorbar(points, ax=axis, label=f"left endpoint of x{line}")
    return figure
