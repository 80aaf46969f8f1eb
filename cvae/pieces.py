"""Large sets of draws in pieces that fit the caches of the processor, and that bound the memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch

#: draws of two lines of 50 points in a piece. On a processor, larger ones leave its caches, and every operation asks
#: for fresh memory: decoding takes half as long again. An accelerator needs many at once.
ON_CPU, ON_DEVICE = 4_096, 65_536
#: numbers in such a draw
USUAL = 100


def piece_size(device: torch.device, numbers: int = USUAL) -> int:
    """Draws of ``numbers`` numbers each to handle at once on ``device``."""
    return max((ON_CPU if device.type == "cpu" else ON_DEVICE) * USUAL // max(numbers, 1), 1)


def pieces(batch: int, draws: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of conditions and of draws that together visit ``(batch, draws)`` once, in order, ``size`` at a time.

    A piece holds several conditions with all of their draws, or some draws of one condition.
    """
    several = max(size // max(draws, 1), 1)
    for first in range(0, batch, several):
        for start in range(0, draws, size):
            yield slice(first, first + several), slice(start, start + size)
