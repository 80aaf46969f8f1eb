"""Distances between sets of light curves: what their peaks are like, and the curves as a whole."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cvae.metrics.base import AllDraws
from cvae.metrics.distances import random_directions, wasserstein

#: least height of a peak above its surroundings (prominence) in dex
PROMINENCE = 0.1
#: directions of the sliced Wasserstein distance
DIRECTIONS = 64
#: groups of similar conditions within which curves are compared
GROUPS = 4

PEAKS = ("peak_height", "peak_width", "crossings")
RATIOS = (*PEAKS, "curves")


def peaks(curves: Tensor) -> Tensor:
    """What the peaks of light curves are like, ``(count, points)`` in log10 magnification to ``(count, 3)``.

    The columns: the height of the highest point in dex; the width of the most prominent peak at half its prominence,
    as a share of the curve, 0 without a peak; the number of peaks, one for each caustic that is crossed and resolved.
    """
    # takes a while to import
    from scipy.signal import find_peaks

    rows = []
    for curve in curves.detach().double().cpu().numpy():
        places, found = find_peaks(curve, prominence=PROMINENCE, width=0, rel_height=0.5)
        width = found["widths"][np.argmax(found["prominences"])] / (len(curve) - 1) if len(places) else 0.0
        rows.append((curve.max(), width, len(places)))
    return torch.tensor(rows).view(-1, len(PEAKS))


def curve_ratios(draws: Tensor, x: Tensor, y: Tensor, first: Tensor) -> dict[str, float]:
    """Distance of generated curves to real ones, divided by the distance of two halves of the real ones.

    1 means that they are as near as other real curves in the same number. The distances are those of peak height, peak
    width and number of crossings (Wasserstein), and of whole curves (sliced Wasserstein, Rabin et al. 2012), each a
    mean over four groups of similar conditions. The draws for the conditions of one half are compared with the curves
    of the other, as the halves are with each other.

    Args:
        draws: for each condition, ``(count, draws, points)``.
        x: the real curve of each condition ``(count, points)``.
        y: the conditions ``(count, 1)``.
        first: whether a curve is of the first half, bool ``(count,)``; the halves shall share no map.

    Returns:
        The ratios ``peak_height``, ``peak_width``, ``crossings`` and ``curves``; nan where the halves are alike or a
        half is missing from a group.
    """
    group = y[:, 0].argsort().argsort() * GROUPS // max(len(y), 1)
    pairs = [((group == number) & first, (group == number) & ~first) for number in range(GROUPS)]
    if not all(a.any() and b.any() for a, b in pairs):
        return dict.fromkeys(RATIOS, float("nan"))
    real = _described(x)
    halves = torch.stack([_distances(real[a], real[b]) for a, b in pairs]).mean(0)
    found = []
    for each in draws.unbind(1):
        made = _described(each)
        found += [_distances(made[a], real[b]) for pair in pairs for a, b in (pair, pair[::-1])]
    return dict(zip(RATIOS, (torch.stack(found).mean(0) / halves).tolist(), strict=True))


def _described(curves: Tensor) -> Tensor:
    """The columns that are compared, ``(count, 3 + directions)``: peaks, and projections of the whole curves."""
    directions = random_directions(DIRECTIONS, curves.shape[1], torch.Generator().manual_seed(0))
    return torch.cat([peaks(curves), curves.double() @ directions.double().T], dim=1)


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """One distance for each of :data:`RATIOS`."""
    columns = wasserstein(first, second)
    return torch.cat([columns[: len(PEAKS)], columns[len(PEAKS) :].mean(0, keepdim=True)])


class CurveRatios(AllDraws):
    """:func:`curve_ratios` over all draws.

    Args:
        x, y, first: as there, of all conditions.
    """

    def __init__(self, x: Tensor, y: Tensor, first: Tensor) -> None:
        super().__init__()
        self.x, self.y, self.first = x.cpu(), y.cpu(), first.cpu()

    def compute(self) -> dict[str, Tensor]:
        """The ratios by name, with ``_ratio`` at the end."""
        which, draws = self.all_draws(self.x.shape[1:])
        found = curve_ratios(draws, self.x[which], self.y[which], self.first[which])
        return {f"{name}_ratio": torch.tensor(value) for name, value in found.items()}
