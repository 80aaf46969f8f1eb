"""Pictures of points and of their clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cvae.tasks.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: points that a panel shows at most
SHOWN = 1_000


def scatter_figure(clouds: Mapping[str, Tensor], log_joint: Mapping[str, Tensor]) -> Figure:
    """Clouds of points in space side by side, coloured by their most likely component.

    Args:
        clouds: points ``(count, 3)`` by name.
        log_joint: of the same points, ``(count, components)``.
    """
    figure = new_figure(4.5 * len(clouds), 4.2)
    limits = None
    for number, (name, points) in enumerate(clouds.items()):
        axis = figure.add_subplot(1, len(clouds), number + 1, projection="3d")
        some, colours = points[:SHOWN].numpy(), log_joint[name][:SHOWN].argmax(-1).numpy()
        axis.scatter(*some.T, c=colours, s=3, cmap="tab10", vmin=0, vmax=9)
        # the panels after the first have its limits, so that what lies elsewhere is seen
        limits = limits or [axis.get_xlim(), axis.get_ylim(), axis.get_zlim()]
        axis.set(xlim=limits[0], ylim=limits[1], zlim=limits[2], xlabel="x0", ylabel="x1", zlabel="x2")
        # smaller than usual: the layout does not know of the labels of a third axis
        axis.set_box_aspect(None, zoom=0.85)
        axis.set_title(name, fontsize=9)
    return figure


def projection_figure(clouds: Mapping[str, Tensor]) -> Figure:
    """Clouds of points in one common t-SNE projection (van der Maaten & Hinton 2008), a colour for each.

    Args:
        clouds: points ``(count, dimensions)`` by name.
    """
    from sklearn.manifold import TSNE

    parts = [points[:SHOWN] for points in clouds.values()]
    places = TSNE(random_state=0).fit_transform(torch.cat(parts).numpy())
    names = np.repeat(list(clouds), [len(part) for part in parts])
    # in random order, so that the last cloud does not hide the first
    order = np.random.default_rng(0).permutation(len(places))
    colours = {name: f"C{number}" for number, name in enumerate(clouds)}
    figure = new_figure(5.2, 4.8)
    axis = figure.add_subplot()
    axis.scatter(places[order, 0], places[order, 1], c=[colours[name] for name in names[order]], s=4)
    for name, colour in colours.items():
        axis.scatter([], [], c=colour, s=12, label=name)
    axis.legend(fontsize=8)
    axis.set(xticks=[], yticks=[], title="t-SNE")
    return figure


def silhouette_figure(counts: Sequence[int], silhouettes: Mapping[str, Sequence[float]], true: int) -> Figure:
    """Mean silhouette against the number of clusters, a curve for each cloud of points.

    Args:
        counts: numbers of clusters.
        silhouettes: of each number, by name of the cloud.
        true: number of components.
    """
    figure = new_figure(5.2, 3.6)
    axis = figure.add_subplot()
    axis.axvline(true, color="0.8", linewidth=4, label="components")
    for name, values in silhouettes.items():
        axis.plot(list(counts), list(values), marker="o", markersize=3, label=name)
    axis.set(xlabel="clusters", ylabel="mean silhouette")
    axis.legend(fontsize=8)
    return figure
