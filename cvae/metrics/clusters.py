"""How many clusters points have, found without knowing it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

#: numbers of clusters that are tried
CLUSTERS = range(2, 13)
#: bandwidth of the mean-shift, in mean distances within which this share of all points is: large enough that a single
#: Gaussian has one mode, and small enough that components four standard deviations apart have two
BANDWIDTH, NEAREST = 0.4, 0.1
#: points from which the mean-shift starts, and its steps
STARTS, SHIFTS = 400, 100
#: share of the points that a mode must attract to count
LEAST_SHARE = 0.02


class Clusters(NamedTuple):
    """The clustering with the largest silhouette.

    Attributes:
        silhouettes: mean silhouette of each number of clusters in :data:`CLUSTERS`.
        shares: of the points in each cluster, the largest first.
    """

    silhouettes: list[float]
    shares: list[float]


def find_clusters(x: Tensor) -> Clusters:
    """K-Means clusters of points ``(count, dimensions)``, as many as give the largest mean silhouette.

    Rousseeuw 1987, "Silhouettes". It takes time and memory with the square of ``count``.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    points = x.detach().cpu().double().numpy()
    silhouettes, labels = [], []
    for count in CLUSTERS:
        labels.append(KMeans(count, n_init=5, random_state=0).fit_predict(points))
        silhouettes.append(float(silhouette_score(points, labels[-1])))
    found = np.bincount(labels[int(np.argmax(silhouettes))]) / len(points)
    return Clusters(silhouettes, sorted(found.tolist(), reverse=True))


def count_modes(x: Tensor) -> int:
    """Modes of the density of points ``(count, dimensions)`` by mean-shift with a Gaussian kernel.

    Comaniciu & Meer 2002. The bandwidth is 0.4 times the mean distance within which a tenth of the points are. Modes
    that attract less than a fiftieth of the points are chance and not counted.
    """
    points = x.detach().cpu().double()
    places = points[:: max(len(points) // STARTS, 1)]
    nearest = max(int(NEAREST * len(points)), 1)
    bandwidth = BANDWIDTH * float(torch.cdist(places, points).kthvalue(nearest, dim=1).values.mean())
    for _ in range(SHIFTS):
        weights = (-0.5 * (torch.cdist(places, points) / bandwidth).square()).softmax(1)
        places = weights @ points
    attracted: list[int] = []
    while len(places) > 0:
        same = (places - places[0]).norm(dim=1) < bandwidth
        attracted.append(int(same.sum()))
        places = places[~same]
    return sum(count >= LEAST_SHARE * sum(attracted) for count in attracted)


def shares_error(shares: list[float], weights: Tensor) -> float:
    """Largest difference between shares and weights, both in order of size; what is missing on either side counts 0."""
    size = max(len(shares), len(weights))
    padded = [np.pad(np.sort(values)[::-1], (0, size - len(values))) for values in (shares, weights.tolist())]
    return float(np.abs(padded[0] - padded[1]).max())
