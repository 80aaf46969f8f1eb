"""Pictures of points and of their clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cvae.tasks.figures import CATEGORIES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: points that a panel shows at most
SHOWN = 1_000


def scatter_figure(clouds: Mapping[str, Tensor], log_joint: Mapping[str, Tensor]) -> Figure:
    """Clouds of points side by side, by their first three coordinates, coloured by their most likely component.

    Args:
        clouds: points ``(count, dimensions)`` by name.
        log_joint: of the same points, ``(count, components)``.
    """
    figure = new_figure(4.5 * len(clouds), 4.2)
    limits = None
    for number, (name, points) in enumerate(clouds.items()):
        shown = min(points.shape[1], 3)
        axis: Any = figure.add_subplot(1, len(clouds), number + 1, projection="3d" if shown == 3 else None)
        some, colours = points[:SHOWN, :shown].numpy(), log_joint[name][:SHOWN].argmax(-1).numpy()
        axis.scatter(*some.T, c=[CATEGORIES[number % len(CATEGORIES)] for number in colours], s=3)
        # the panels after the first have its limits, so that what lies elsewhere is seen
        limits = limits or {f"{letter}lim": getattr(axis, f"get_{letter}lim")() for letter in "xyz"[:shown]}
        axis.set(**limits, **{f"{letter}label": f"x{place}" for place, letter in enumerate("xyz"[:shown])})
        if shown == 3:
            # smaller than usual: the layout does not know of the labels of a third axis
            axis.set_box_aspect(None, zoom=0.85)
        axis.set_title(f"{name}, {len(some)} points", fontsize=9)
    figure.suptitle("Points (dimensionless), coloured by their most likely true component", fontsize=9)
    return figure


def plane_figure(clouds: Mapping[str, Tensor]) -> Figure:
    """Clouds of points in the plane side by side, over the range of the first.

    Args:
        clouds: points ``(count, 2)`` by name.
    """
    figure = new_figure(3.6 * len(clouds), 3.6)
    axes = figure.subplots(1, len(clouds), squeeze=False)[0]
    reach = 1.3 * float(next(iter(clouds.values())).abs().max())
    for axis, (name, points) in zip(axes, clouds.items(), strict=True):
        axis.scatter(*points[:SHOWN].numpy().T, s=3)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="x0", ylabel="x1")
        axis.set_title(name, fontsize=9)
    return figure


def density_figure(
    clouds: Mapping[str, Tensor], paths: Mapping[str, Tensor], density: Tensor, places: Tensor
) -> Figure:
    """Clouds of points over a density, side by side, and the first steps of the paths that led to some of them.

    Args:
        clouds: points ``(count, 2)`` by name; those that are nan are left out, and counted in the title.
        paths: of some clouds, ``(1 + steps, paths, 2)``, the start first.
        density: at all pairs of ``places``, ``(places, places)``, the first coordinate along the columns.
        places: along each axis.
    """
    figure = new_figure(3.6 * len(clouds), 3.9)
    reach, shade = float(places.max()), density.numpy()
    for axis, (name, points) in zip(figure.subplots(1, len(clouds), squeeze=False)[0], clouds.items(), strict=True):
        axis.imshow(shade, extent=(-reach, reach, -reach, reach), origin="lower", cmap="Greys", vmax=shade.max())
        axis.scatter(*points[:SHOWN].numpy().T, s=3, c="tab:blue", linewidths=0)
        walks = paths.get(name, points.new_empty(1, 0, 2))
        for walk in walks.unbind(1):
            axis.plot(*walk.numpy().T, color="tab:orange", linewidth=0.8)
            axis.plot(*walk[0].numpy(), marker="o", markersize=4, color="tab:red")
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="x0", ylabel="x1")
        lost = int((~torch.isfinite(points).all(1)).sum())
        first = (
            f"\nfirst {len(walks) - 1} steps of {walks.shape[1]} chains"
            if walks.shape[1]
            else "\nover the learned density"
        )
        axis.set_title(f"{name}{f', {lost} diverged' if lost else ''}{first}", fontsize=9)
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
    colours = dict(zip(clouds, CATEGORIES, strict=False))
    figure = new_figure(5.2, 4.8)
    axis = figure.add_subplot()
    axis.scatter(places[order, 0], places[order, 1], c=[colours[name] for name in names[order]], s=4)
    for name, colour in colours.items():
        axis.scatter([], [], c=colour, s=12, label=name)
    axis.legend(fontsize=8)
    axis.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
    axis.set_title(f"{' and '.join(clouds)} in one t-SNE projection: alike where the colours mix", fontsize=9)
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
    for (name, values), colour in zip(silhouettes.items(), CATEGORIES, strict=False):
        axis.plot(list(counts), list(values), marker="o", markersize=3, label=name, color=colour)
    axis.set(xlabel="number of clusters", ylabel="mean silhouette (dimensionless)", xticks=list(counts))
    axis.set_title("How well each number of clusters fits: highest at the number found", fontsize=9)
    axis.legend(fontsize=8)
    return figure
