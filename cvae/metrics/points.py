"""How far draws are from points of the true distribution, beside how far such points are from one another."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.base import AllDraws
from cvae.metrics.distances import median_distance, random_directions, sliced_wasserstein, squared_mmd

#: projections of the sliced Wasserstein distance, and points whose median distance is the unit of the kernels
DIRECTIONS, FOR_UNIT = 100, 1_000
#: names of the distances that draws are measured by
DISTANCES = ("mmd", "sliced_wasserstein")


def distances_to_points(draws: Tensor, points: Tensor) -> dict[str, float]:
    """How far draws ``(count, dimensions)`` are from points ``(number, dimensions)``, and these from one another.

    Both are compared in samples of one size, since the estimates depend on it: ``count``, or half of the points if that
    is less. Each value is a mean over all such parts of the points: ``mmd``, the root of :func:`squared_mmd` with the
    median distance of the points as unit, and ``sliced_wasserstein`` for the first draws; ``mmd_real`` and
    ``sliced_wasserstein_real`` for the next part of the points in their place; ``mmd_ratio`` and
    ``sliced_wasserstein_ratio``, their quotients. Draws that are not finite are left out of all, and ``diverged`` is
    their number; nan if none is left.
    """
    finite = torch.isfinite(draws).all(1)
    draws = draws[finite]
    size = min(len(draws), len(points) // 2)
    found = {"diverged": float((~finite).sum())}
    if size == 0:
        return found | {f"{name}{of}": float("nan") for name in DISTANCES for of in ("", "_real", "_ratio")}
    unit = median_distance(points[:FOR_UNIT])
    directions = random_directions(DIRECTIONS, points.shape[1], torch.Generator().manual_seed(0))
    parts = [part for part in points.split(size) if len(part) == size]
    for name, distance in {
        "mmd": lambda a, b: squared_mmd(a, b, unit).sqrt(),
        "sliced_wasserstein": lambda a, b: sliced_wasserstein(a, b, directions),
    }.items():
        made = torch.stack([distance(draws[:size], part) for part in parts]).mean()
        real = torch.stack([distance(parts[number - 1], part) for number, part in enumerate(parts)]).mean()
        found |= {name: float(made), f"{name}_real": float(real), f"{name}_ratio": float(made / real)}
    return found


class PointDistances(AllDraws):
    """:func:`distances_to_points` of all draws, whatever their conditions.

    Args:
        points: ``(number, dimensions)``.
    """

    def __init__(self, points: Tensor) -> None:
        super().__init__()
        self.points = points.cpu()

    def compute(self) -> dict[str, Tensor]:
        """The distances by name."""
        draws = self.all_draws(self.points.shape[1:])[1].flatten(0, 1)
        found = distances_to_points(draws, self.points)
        return {name: torch.tensor(value) for name, value in found.items()}
