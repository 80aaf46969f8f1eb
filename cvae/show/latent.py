"""Pictures of the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from cvae.tasks.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: quantities that a picture is coloured by at most
PANELS = 4


def categories_figure(codes: Tensor, theta: Tensor, names: list[str]) -> Figure:
    """Which value of a categorical latent goes with which solution: pairs of parameters, coloured by the latent.

    Args:
        codes: one-hot, ``(samples, components)``.
        theta: parameters ``(samples, parameters)``.
        names: of the parameters.
    """
    chosen, places = codes.argmax(1).cpu().numpy(), theta.detach().float().cpu().numpy()
    # neighbouring numbers mean nothing, so their colours must not look alike
    colours = np.random.default_rng(0).permutation(codes.shape[1])[chosen]
    pairs = [(first, min(first + 1, len(names) - 1)) for first in range(0, len(names), 2)][:PANELS]
    figure = new_figure(3.9 * len(pairs), 3.6)
    for (first, second), axis in zip(pairs, figure.subplots(1, len(pairs), squeeze=False)[0], strict=True):
        axis.scatter(places[:, first], places[:, second], c=colours, s=6, cmap="nipy_spectral")
        axis.set_xlabel(names[first])
        axis.set_ylabel(names[second])
        axis.set_title(f"{len(np.unique(chosen))} of {codes.shape[1]} components in use", fontsize=9)
    return figure


def latent_figure(codes: Tensor, theta: Tensor, names: list[str]) -> Figure:
    """Posterior means in the two latent dimensions that vary most, coloured by each parameter.

    Args:
        codes: ``(samples, latent_dim)``.
        theta: parameters ``(samples, parameters)``.
        names: of the parameters.
    """
    values, colours = codes.detach().float().cpu().numpy(), theta.detach().float().cpu().numpy()
    order = np.argsort(-values.var(axis=0), kind="stable")
    first, second = order[0], order[min(1, len(order) - 1)]
    shown = min(len(names), PANELS)
    figure = new_figure(4.2 * shown, 3.6)
    for number, axis in enumerate(figure.subplots(1, shown, squeeze=False)[0]):
        points = axis.scatter(values[:, first], values[:, second], c=colours[:, number], s=5, cmap="viridis")
        axis.set_xlabel(f"z[{first}]")
        axis.set_ylabel(f"z[{second}]")
        figure.colorbar(points, ax=axis, label=names[number])
    return figure
