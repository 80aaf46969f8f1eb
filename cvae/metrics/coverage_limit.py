"""The coverage that the best few of many solutions reach, and how close draws come to it."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.coverage import ROWS, raster_rows


def greedy_cover(x: Tensor, valid: Tensor, count: int, value_range: tuple[float, float], rows: int = ROWS) -> Tensor:
    """Choose ``count`` of many draws so that together they sweep as much as a greedy choice can.

    Each step takes the draw that adds the most cells, the first of equals (Nemhauser et al. 1978: at least
    1 - 1/e of the optimum). Valid draws are taken before invalid ones.

    Args:
        x: draws ``(batch, draws, lines, points)``.
        valid: bool ``(batch, draws)``.
        count: how many to choose.
        value_range: lowest and highest value of the raster.
        rows: rows of the raster.

    Returns:
        Indices ``(batch, count)``, all different; fewer columns if there are fewer draws.
    """
    batch, draws, lines, points = x.shape
    every = torch.arange(batch, device=x.device)
    # one cell per column and draw: small integers, so that a step reads little memory
    row = raster_rows(x, value_range, rows).flatten(2).to(torch.uint8 if rows < 256 else torch.int16)
    uncovered = torch.ones(batch, lines * points, rows, dtype=torch.bool, device=x.device)
    columns = torch.arange(lines * points, device=x.device)
    gain = torch.full((batch, draws), lines * points, dtype=torch.int64, device=x.device)
    # invalid draws only after all valid ones, draws that were taken never again
    gain -= torch.where(valid, 0, lines * points + 1)
    chosen = []
    for _ in range(min(count, draws)):
        best = gain.argmax(1)
        chosen.append(best)
        taken = row[every, best]
        at = (every.unsqueeze(1), columns, taken.long())
        new = uncovered[at]
        uncovered[at] = False
        # every draw that shares a newly covered cell would now add one cell less
        gain -= ((row == taken.unsqueeze(1)) & new.unsqueeze(1)).sum(-1)
        gain[every, best] = -(10**9)
    return torch.stack(chosen, dim=1)
