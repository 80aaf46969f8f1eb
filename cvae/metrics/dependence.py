"""How the coordinates of a sample depend on each other, whatever their own distributions are."""

from __future__ import annotations

import torch
from torch import Tensor

#: pairs of points that are compared at once
PAIRS = 4_000_000


def kendall_values(x: Tensor) -> Tensor:
    """For each point the share of the other points that are smaller in all coordinates, ``(count,)``.

    Their distribution function is the empirical Kendall function (Genest & Rivest 1993, "Statistical inference
    procedures for bivariate Archimedean copulas"). It does not change when a coordinate is transformed by an increasing
    function, so it tells of the dependence alone. Time goes with the square of ``count``, memory does not.

    Args:
        x: points ``(count, dimensions)``, at least two.

    Raises:
        ValueError: for fewer points, which have no others.
    """
    count = len(x)
    if count < 2:
        raise ValueError(f"{count} points; the Kendall function needs at least 2.")
    columns = x.T.contiguous()
    found = []
    for some in columns.split(max(PAIRS // count, 1), dim=1):
        below = torch.ones(some.shape[1], count, dtype=torch.bool, device=x.device)
        for own, every in zip(some, columns, strict=True):
            below &= every < own.unsqueeze(1)
        found.append(below.sum(1))
    return torch.cat(found) / (count - 1)


def kendall_error(x: Tensor, reference: Tensor) -> float:
    """Absolute error of the Kendall function: the mean difference between the sorted :func:`kendall_values` of two
    samples.

    For samples of different sizes it is the area between the quantile functions of the values (their Wasserstein-1
    distance), which is the same where the sizes agree. 0 for alike dependence; at most 1.

    Args:
        x: points ``(count, dimensions)``.
        reference: points ``(other_count, dimensions)``.
    """
    # takes a while to import
    from scipy.stats import wasserstein_distance

    values = (kendall_values(sample).double().cpu().numpy() for sample in (x, reference))
    return float(wasserstein_distance(*values))
