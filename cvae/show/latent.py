"""Pictures of the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from cvae.tasks.figures import CATEGORIES, INVALID, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: quantities that a picture is coloured by at most
PANELS = 4
#: components of a categorical latent that have a colour of their own, the most used ones
MARKED = 6


def categories_figure(codes: Tensor, theta: Tensor, names: list[str]) -> Figure:
    """How often each component of a categorical latent is chosen, and where the solutions of the most used ones lie.

    Args:
        codes: one-hot, ``(samples, components)``.
        theta: parameters ``(samples, parameters)``.
        names: of the parameters.
    """
    chosen, places = codes.argmax(1).cpu().numpy(), theta.detach().float().cpu().numpy()
    shares = np.bincount(chosen, minlength=codes.shape[1]) / len(chosen)
    order = np.argsort(-shares, kind="stable")
    # of hundreds of components, bars of those in use alone are wide enough to see
    used = order[shares[order] > 0]
    top = used[:MARKED]
    pairs = [(first, min(first + 1, len(names) - 1)) for first in range(0, len(names), 2)][: PANELS - 1]
    figure = new_figure(3.9 * (1 + len(pairs)), 3.8)
    usage, *panels = figure.subplots(1, 1 + len(pairs))
    colours = [*CATEGORIES[: len(top)], *[INVALID] * (len(used) - len(top))]
    usage.bar(np.arange(1, len(used) + 1), 100 * shares[used], color=colours, width=1.0)
    usage.axhline(100 / len(order), color="black", linewidth=0.8, linestyle="--", label="if all were used alike")
    usage.set(xlabel="component in use, by rank", ylabel="share of the solutions (%)")
    usage.legend(fontsize=7)
    for (first, second), axis in zip(pairs, panels, strict=True):
        rest = ~np.isin(chosen, top)
        axis.scatter(places[rest, first], places[rest, second], color=INVALID, s=4, linewidths=0, alpha=0.5)
        for number, colour in zip(top, CATEGORIES, strict=False):
            here = chosen == number
            axis.scatter(places[here, first], places[here, second], color=colour, s=12, linewidths=0)
        axis.set(xlabel=f"{names[first]} (data units)", ylabel=f"{names[second]} (data units)")
    figure.suptitle(
        f"Categorical latent of {len(chosen)} validation solutions: {len(used)} of {len(order)} components in use; "
        f"the {len(top)} most used ones in colour",
        fontsize=9,
    )
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
    figure = new_figure(max(4.2 * shown, 6.4), 3.8)
    for number, axis in enumerate(figure.subplots(1, shown, squeeze=False)[0]):
        points = axis.scatter(values[:, first], values[:, second], c=colours[:, number], s=5, cmap="viridis")
        # on one scale, so that a dimension that carries nothing is seen to be flat
        axis.axis("equal")
        axis.set_xlabel(f"z[{first}] (dimensionless)")
        axis.set_ylabel(f"z[{second}] (dimensionless)")
        axis.set_title(f"coloured by {names[number]}", fontsize=9)
        figure.colorbar(points, ax=axis, label=f"{names[number]} (data units)")
    figure.suptitle(
        f"Latent of {len(values)} validation solutions: posterior means in the two of {values.shape[1]} dimensions "
        "that vary most",
        fontsize=9,
    )
    return figure
