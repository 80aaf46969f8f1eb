"""Measures of the draws of one condition: a pure function and a :class:`torchmetrics.Metric` each."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from cvae.metrics.base import MeanOverConditions
from cvae.metrics.records import Check, Drawn
from cvae.sampling import chunk_size, chunks

#: bins over the range of a coordinate
BINS = 50

#: from solutions ``(..., *x_shape)`` to coordinates ``(..., coordinates)`` as shares of their ranges
Coordinates = Callable[[Tensor], Tensor]


def valid_share(valid: Tensor) -> Tensor:
    """Share of valid draws, bool ``(batch, draws)`` to ``(batch,)``."""
    return valid.float().mean(-1)


def rmse(misfit: Tensor) -> Tensor:
    """Mean misfit over draws, in units of y, ``(batch, draws)`` to ``(batch,)``; inf if a draw is not finite."""
    return misfit.mean(-1)


def pearson(straightness: Tensor) -> Tensor:
    """Straightness ``(batch, draws, lines)`` of the worst line of each draw, mean over draws, ``(batch,)``."""
    return straightness.amin(-1).mean(-1)


def bins_of(u: Tensor, bins: int = BINS) -> Tensor:
    """Bin that each coordinate falls in, of the shape of ``u``; values outside [0, 1] count to the nearest bin."""
    return (u.nan_to_num(nan=0.0) * bins).floor().clamp(0, bins - 1).long()


def compact_bins(u: Tensor, bins: int = BINS) -> Tensor:
    """:func:`bins_of` of draws ``(batch, draws, coordinates)`` in small integers: comparing them reads an eighth of
    the memory."""
    batch, draws, coordinates = u.shape
    found = torch.empty(u.shape, dtype=torch.uint8 if bins < 256 else torch.int16, device=u.device)
    for some, part in chunks(batch, draws, chunk_size(u.device, coordinates)):
        found[some, part] = bins_of(u[some, part], bins).to(found.dtype)
    return found


def hit_bins(u: Tensor, valid: Tensor, bins: int = BINS) -> Tensor:
    """Bins that the valid draws hit.

    Args:
        u: coordinates of draws as shares of their ranges, ``(batch, draws, coordinates)``.
        valid: bool ``(batch, draws)``.
        bins: bins over each range.

    Returns:
        bool ``(batch, coordinates, bins)``.
    """
    batch, draws, coordinates = u.shape
    cells = torch.zeros(batch, coordinates, bins + 1, dtype=torch.bool, device=u.device)
    for some, part in chunks(batch, draws, chunk_size(u.device, coordinates)):
        # invalid draws go to a bin of their own, which is cut off
        found = torch.where(valid[some, part, None], bins_of(u[some, part], bins), bins)
        cells[some].scatter_(-1, found.transpose(1, 2), True)
    return cells[..., :bins]


def coverage(u: Tensor, valid: Tensor, bins: int = BINS) -> Tensor:
    """Share of the bins that the valid draws hit, mean over coordinates, ``(batch,)``; 0 without a valid draw.

    Arguments as for :func:`hit_bins`.
    """
    return hit_bins(u, valid, bins).float().mean((1, 2))


def score(u: Tensor, valid: Tensor) -> Tensor:
    """Coverage, but 0 for a condition with any invalid draw, ``(batch,)``: the challenge's own score.

    Arguments as for :func:`hit_bins`.
    """
    return coverage(u, valid) * valid.all(-1)


def envelope(u: Tensor, valid: Tensor) -> Tensor:
    """Distance between the lowest and the highest valid draw, mean over coordinates, ``(batch,)`` in [0, 1].

    0 with fewer than two valid draws. Arguments as for :func:`hit_bins`.
    """
    mask = valid.unsqueeze(-1)
    top = torch.where(mask, u, -torch.inf).amax(1)
    bottom = torch.where(mask, u, torch.inf).amin(1)
    return (top - bottom).clamp_min(0).mean(1)


class _OfCheck(MeanOverConditions):
    """A measure that needs the verdict alone."""

    def measure(self, drawn: Drawn) -> Tensor:
        return self.of_check(cast(Check, drawn.check))

    def of_check(self, check: Check) -> Tensor:
        """Per-condition values ``(batch,)``."""
        raise NotImplementedError


class Valid(_OfCheck):
    """Mean of :func:`valid_share`."""

    higher_is_better = True

    def of_check(self, check: Check) -> Tensor:
        """Per-condition values ``(batch,)`` of a check of ``(batch, draws)``."""
        return valid_share(check.valid)


class RMSE(_OfCheck):
    """Mean of :func:`rmse`."""

    higher_is_better = False

    def of_check(self, check: Check) -> Tensor:
        """Per-condition values ``(batch,)`` of a check of ``(batch, draws)``."""
        return rmse(check.misfit)


class RelativeRMSE(_OfCheck):
    """Mean of :func:`rmse` with misfits as shares of the spread of y."""

    higher_is_better = False

    def of_check(self, check: Check) -> Tensor:
        """Per-condition values ``(batch,)`` of a check of ``(batch, draws)``."""
        return rmse(cast(Tensor, check.relative))


class Pearson(_OfCheck):
    """Mean of :func:`pearson`; 1 is a perfect line with the right slope, constant lines count 0."""

    higher_is_better = True

    def of_check(self, check: Check) -> Tensor:
        """Per-condition values ``(batch,)`` of a check of ``(batch, draws)``."""
        return pearson(cast(Tensor, check.straightness))


class _OfCoordinates(MeanOverConditions):
    """A measure of the spread of valid draws.

    Args:
        coordinates: from solutions to coordinates as shares of their ranges.
    """

    higher_is_better = True
    function: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, coordinates: Coordinates) -> None:
        super().__init__()
        self.coordinates = coordinates

    def measure(self, drawn: Drawn) -> Tensor:
        return type(self).function(self.coordinates(drawn.x), cast(Check, drawn.check).valid)


class Coverage(_OfCoordinates):
    """Mean of :func:`coverage`."""

    function = staticmethod(coverage)


class Score(_OfCoordinates):
    """Mean of :func:`score`."""

    function = staticmethod(score)


class Envelope(_OfCoordinates):
    """Mean of :func:`envelope`."""

    function = staticmethod(envelope)
