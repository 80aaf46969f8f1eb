"""Measures of draws against the true density of a mixture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cvae.metrics.base import MeanOverConditions
from cvae.metrics.records import Drawn

#: share of the draws of a Gaussian that count as outside of it
TAIL = 1e-3


def weight_error(log_joint: Tensor, weights: Tensor) -> Tensor:
    """Largest difference between the weight of a component and the share of the draws that belong to it, ``(batch,)``.

    A draw between two components belongs to each by its posterior probability, so there is no error on average for
    draws from the mixture itself.

    Args:
        log_joint: ``log p(k) + log p(x|k)`` of draws, ``(batch, draws, components)``.
        weights: ``p(k)``, ``(components,)``.
    """
    return (log_joint.softmax(-1).mean(1) - weights).abs().amax(-1)


def outside(distances: Tensor, dimensions: int) -> Tensor:
    """Share of the draws outside of every component, that is of its ellipsoid that holds 99.9 % of it, ``(batch,)``.

    It is at most 0.001 for draws from the mixture itself, on average; more are bridges between its components.

    Args:
        distances: Mahalanobis distances of draws to the components, ``(batch, draws, components)``.
        dimensions: of the space.
    """
    # squares of the distances have the chi-squared distribution
    tail = torch.special.gammaincc(torch.full_like(distances, dimensions / 2), distances.square() / 2)
    return (tail.amax(-1) < TAIL).float().mean(1)


class WeightError(MeanOverConditions):
    """Mean of :func:`weight_error`.

    Args:
        log_joint: from points ``(..., dimensions)`` to ``log p(k) + log p(x|k)`` ``(..., components)``.
        weights: ``p(k)``, ``(components,)``.
    """

    higher_is_better = False
    weights: Tensor

    def __init__(self, log_joint: Callable[[Tensor], Tensor], weights: Tensor) -> None:
        super().__init__()
        self.log_joint = log_joint
        self.register_buffer("weights", weights, persistent=False)

    def measure(self, drawn: Drawn) -> Tensor:
        """Per-condition values ``(batch,)``."""
        return weight_error(self.log_joint(drawn.x), self.weights)


class Outside(MeanOverConditions):
    """Mean of :func:`outside`.

    Args:
        distances: from points ``(..., dimensions)`` to Mahalanobis distances ``(..., components)``.
    """

    higher_is_better = False

    def __init__(self, distances: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.distances = distances

    def measure(self, drawn: Drawn) -> Tensor:
        """Per-condition values ``(batch,)``."""
        return outside(self.distances(drawn.x), drawn.x.shape[-1])
