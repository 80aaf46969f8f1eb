"""Schedules as pure functions: of the step (beta) or of the share of training that is done (learning rate)."""

from __future__ import annotations

import math


def linear_warmup(step: int, steps: int) -> float:
    """Factor that rises linearly from 0 at step 0 to 1 at ``steps`` and stays there; always 1 for ``steps=0``."""
    return 1.0 if steps <= 0 else min(step / steps, 1.0)


def geometric(progress: float, start: float, end: float) -> float:
    """Value that goes from ``start`` to ``end`` (both positive) by equal ratios, as ``progress`` goes from 0 to 1."""
    return float(start * (end / start) ** min(max(progress, 0.0), 1.0))


def constant(progress: float) -> float:
    """Factor 1 throughout."""
    return 1.0


def cosine(progress: float, warmup: float = 0.0, floor: float = 0.0) -> float:
    """Linear rise over the share ``warmup`` of training, then half a cosine down to ``floor``.

    Loshchilov & Hutter 2017, without restarts.

    Args:
        progress: share of training that is done, in [0, 1].
        warmup: share of training to rise in.
        floor: factor at the end.
    """
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    done = min((progress - warmup) / max(1 - warmup, 1e-12), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def one_cycle(progress: float, peak: float = 0.3, start: float = 0.04, end: float = 1e-4) -> float:
    """Cosine rise from ``start`` to 1 at the share ``peak`` of training, then a cosine down to ``end``.

    Smith & Topin 2018, with the cosine form that is usual today.
    """
    if progress < peak:
        low, high, done = start, 1.0, progress / peak
    else:
        low, high, done = end, 1.0, 1 - min((progress - peak) / max(1 - peak, 1e-12), 1.0)
    return low + (high - low) * 0.5 * (1 - math.cos(math.pi * done))
