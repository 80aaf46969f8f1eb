"""Measures of drawn images of known classes beside real ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cvae.metrics.base import MeanOverConditions
from cvae.metrics.records import Drawn

#: from images ``(count, height, width)`` to their classes ``(count,)``
Classifier = Callable[[Tensor], Tensor]
#: images whose distances to all others are worked out at once
PORTION = 200


def mean_distance(x: Tensor) -> Tensor:
    """Mean Euclidean distance of all pairs of ``x`` ``(count, ...)``, at least two."""
    return torch.pdist(x.flatten(1)).mean()


def diversity(x: Tensor, real: Tensor, labels: Tensor) -> Tensor:
    """Mean distance of pairs of draws as a ratio to that of pairs of real images, for each class, ``(classes,)``.

    1 for draws as diverse as real images, 0 for draws that are all alike.

    Args:
        x: draws of every class, ``(classes, draws, ...)``.
        real: real images ``(count, ...)``.
        labels: their classes, ``(count,)``, of which each has at least two images.
    """
    ratios = [mean_distance(x[one]) / mean_distance(real[labels == one]) for one in range(len(x))]
    return torch.stack(ratios)


def nearest_distance(x: Tensor, known: Tensor) -> Tensor:
    """Euclidean distance ``(count,)`` of each ``x`` ``(count, ...)`` to the nearest of ``known`` ``(others, ...)``."""
    everything = known.flatten(1)
    return torch.cat([torch.cdist(part, everything).amin(1) for part in x.flatten(1).split(PORTION)])


class Recognised(MeanOverConditions):
    """Share of the draws that a classifier takes for the class that they were drawn for, mean over conditions.

    Args:
        classify: gives the class of each image; trained on real ones.
    """

    higher_is_better = True

    def __init__(self, classify: Classifier) -> None:
        super().__init__()
        self.classify = classify

    def measure(self, drawn: Drawn) -> Tensor:
        """Share of draws that are classified as their condition, ``(batch,)``."""
        found = self.classify(drawn.x.flatten(0, 1)).view(drawn.x.shape[:2])
        return (found == drawn.y.argmax(1, keepdim=True)).float().mean(1)
