"""Schedules: factors as functions of how far a training is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from cvae.errors import UserError

#: factor as a function of the share of training that is done
Schedule = Callable[[float], float]


class Progress(NamedTuple):
    """How far a training is: the optimiser step, and how many there will be."""

    step: int
    total: int

    @property
    def share(self) -> float:
        """Share of training that is done."""
        return self.step / max(self.total, 1)


def linear_warmup(step: int, steps: int) -> float:
    """Factor that rises linearly from 0 at step 0 to 1 at ``steps`` and stays there; always 1 for ``steps=0``."""
    return 1.0 if steps <= 0 else min(step / steps, 1.0)


def geometric(progress: float, start: float, end: float) -> float:
    """Value that goes from ``start`` to ``end`` (both positive) by equal ratios, as ``progress`` goes from 0 to 1."""
    return float(start * (end / start) ** min(max(progress, 0.0), 1.0))


def constant() -> Schedule:
    """Factor 1 throughout."""
    return lambda progress: 1.0


def cosine(warmup: float = 0.0, floor: float = 0.0) -> Schedule:
    """Linear rise over the share ``warmup`` of training, then half a cosine down to ``floor``.

    Loshchilov & Hutter 2017, without restarts.

    Raises:
        UserError: unless ``0 <= warmup < 1`` and ``0 <= floor <= 1``.
    """
    if not 0 <= warmup < 1:
        raise UserError(f"scheduler.warmup is {warmup}; it is a share of training, at least 0 and below 1.")
    if not 0 <= floor <= 1:
        raise UserError(f"scheduler.floor is {floor}; it is a share of the learning rate, from 0 to 1.")

    def factor(progress: float) -> float:
        if progress < warmup:
            return max(progress / warmup, 1e-3)
        done = min((progress - warmup) / (1 - warmup), 1.0)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def one_cycle(peak: float = 0.3, start: float = 0.04, end: float = 1e-4) -> Schedule:
    """Cosine rise from ``start`` to 1 at the share ``peak`` of training, then a cosine down to ``end``.

    Smith & Topin 2018, with the cosine form that is usual today.

    Raises:
        UserError: unless ``0 < peak < 1``, and ``start`` and ``end`` are shares of the learning rate.
    """
    if not 0 < peak < 1:
        raise UserError(f"scheduler.peak is {peak}; it is a share of training, above 0 and below 1.")
    for name, value in (("start", start), ("end", end)):
        if not 0 <= value <= 1:
            raise UserError(f"scheduler.{name} is {value}; it is a share of the learning rate, from 0 to 1.")

    def factor(progress: float) -> float:
        if progress < peak:
            low, high, done = start, 1.0, progress / peak
        else:
            low, high, done = end, 1.0, 1 - min((progress - peak) / (1 - peak), 1.0)
        return low + (high - low) * 0.5 * (1 - math.cos(math.pi * done))

    return factor
