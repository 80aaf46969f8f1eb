"""How much of the square the valid draws of one condition sweep."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.base import MeanOverConditions
from cvae.pieces import piece_size, pieces
from cvae.problems import Check

ROWS = 50


def raster_rows(x: Tensor, value_range: tuple[float, float], rows: int = ROWS) -> Tensor:
    """Row of the raster that each value falls in, of the shape of ``x``; values out of range count to the edge."""
    low, high = value_range
    scaled = ((x - low) / (high - low)).nan_to_num(nan=0.0)
    return (scaled * rows).floor().clamp(0, rows - 1).long()


def compact_rows(x: Tensor, value_range: tuple[float, float], rows: int = ROWS) -> Tensor:
    """:func:`raster_rows` of draws ``(batch, draws, lines, points)`` in small integers, one for each column,
    ``(batch, draws, lines * points)``: comparing them reads an eighth of the memory."""
    batch, draws, lines, points = x.shape
    found = torch.empty(batch, draws, lines * points, dtype=torch.uint8 if rows < 256 else torch.int16, device=x.device)
    for some, part in pieces(batch, draws, piece_size(x.device, lines * points)):
        found[some, part] = raster_rows(x[some, part], value_range, rows).flatten(2).to(found.dtype)
    return found


def raster(x: Tensor, valid: Tensor, value_range: tuple[float, float], rows: int = ROWS) -> Tensor:
    """Cells that the valid draws sweep.

    Args:
        x: draws ``(batch, draws, lines, points)``.
        valid: bool ``(batch, draws)``.
        value_range: lowest and highest value of the raster.
        rows: rows of the raster; its columns are the points.

    Returns:
        bool ``(batch, lines, points, rows)``.
    """
    batch, draws, lines, points = x.shape
    cells = torch.zeros(batch, lines, points, rows + 1, dtype=torch.bool, device=x.device)
    for some, part in pieces(batch, draws, piece_size(x.device, lines * points)):
        # invalid draws go to a row of their own, which is cut off
        row = torch.where(valid[some, part, None, None], raster_rows(x[some, part], value_range, rows), rows)
        cells[some].scatter_(-1, row.permute(0, 2, 3, 1), True)
    return cells[..., :rows]


def coverage(x: Tensor, valid: Tensor, value_range: tuple[float, float], rows: int = ROWS) -> Tensor:
    """Share of the raster that the valid draws sweep, mean over lines, ``(batch,)``; 0 without a valid draw.

    Arguments as for :func:`raster`.
    """
    return raster(x, valid, value_range, rows).float().mean((1, 2, 3))


class Coverage(MeanOverConditions):
    """See :func:`coverage`."""

    higher_is_better = True

    def __init__(self, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.value_range = value_range

    def measure(self, x: Tensor, check: Check) -> Tensor:
        return coverage(x, check.valid, self.value_range)
