"""Distances between samples of two distributions, all of which can be differentiated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: quantiles at which samples of different sizes are compared
QUANTILES = 200
#: bandwidths of the kernels of the maximum mean discrepancy, in the unit that is given
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def wasserstein(first: Tensor, second: Tensor, order: int = 1) -> Tensor:
    """Wasserstein distance of samples ``(count, columns)`` and ``(other_count, columns)``, for each column.

    The mean power ``order`` of the difference of the quantile functions, and its root; exact where both samples are of
    one size, else taken at 200 levels.
    """
    if len(first) == len(second):
        gaps = first.sort(dim=0).values - second.sort(dim=0).values
    else:
        levels = (torch.arange(QUANTILES, dtype=first.dtype, device=first.device) + 0.5) / QUANTILES
        gaps = torch.quantile(first, levels, dim=0) - torch.quantile(second, levels, dim=0)
    return gaps.abs().mean(0) if order == 1 else gaps.abs().pow(order).mean(0).pow(1 / order)


def random_directions(
    count: int, dimensions: int, generator: torch.Generator | None = None, device: torch.device | None = None
) -> Tensor:
    """Unit vectors ``(count, dimensions)``, uniform on the sphere; ``generator``, the global one if None, is of
    ``device``."""
    directions = torch.randn(count, dimensions, generator=generator, device=device)
    return directions / directions.norm(dim=1, keepdim=True)


def sliced_wasserstein(first: Tensor, second: Tensor, directions: Tensor, order: int = 1) -> Tensor:
    """Sliced Wasserstein distance of samples ``(count, dimensions)``, a number (Rabin et al. 2012).

    The mean power ``order`` of the distances of the samples projected on each of ``directions`` ``(number,
    dimensions)``, and its root.
    """
    axes = directions.to(first).T
    distances = wasserstein(first @ axes, second @ axes, order)
    return distances.pow(order).mean().pow(1 / order)


def squared_mmd(
    first: Tensor, second: Tensor, unit: float | Tensor, bandwidths: Sequence[float] = BANDWIDTHS
) -> Tensor:
    """Squared maximum mean discrepancy of samples ``(count, dimensions)``, a number of at least 0.

    Gretton et al. 2012, equation 5 (the biased estimate, with the kernel of each point and itself), for the mean of
    Gaussian kernels of several ``bandwidths``, each times ``unit``.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = torch.cdist(a, b).square() / (2 * unit**2)
        return torch.stack([(-squares / width**2).exp().mean() for width in bandwidths]).mean()

    return (kernel(first, first) + kernel(second, second) - 2 * kernel(first, second)).clamp_min(0)


def median_distance(points: Tensor) -> Tensor:
    """Median distance of two different points of ``(count, dimensions)``, a number: the usual unit for a kernel."""
    return torch.pdist(points).median()
