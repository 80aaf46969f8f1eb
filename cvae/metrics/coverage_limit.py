"""The coverage that the best few of many solutions reach, and how close draws come to it."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.coverage import ROWS, compact_rows
from cvae.pieces import piece_size, pieces


def shared(row: Tensor, other: Tensor, columns: Tensor) -> Tensor:
    """In how many of some columns each draw has the same cell as another, ``(batch, draws)``.

    Args:
        row: of all draws, ``(batch, draws, columns)``, see :func:`cvae.metrics.coverage.compact_rows`.
        other: row of one draw for each condition, ``(batch, columns)``.
        columns: which columns count, bool ``(batch, columns)``.
    """
    found = torch.empty(row.shape[:2], dtype=torch.int64, device=row.device)
    # a row that no draw has, in the columns that do not count
    wanted = torch.where(columns, other, torch.iinfo(row.dtype).max).unsqueeze(1)
    for some, part in pieces(row.shape[0], row.shape[1], piece_size(row.device, row.shape[2])):
        found[some, part] = (row[some, part] == wanted[some]).sum(-1)
    return found


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
    row = compact_rows(x, value_range, rows)
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
        gain -= shared(row, taken, new)
        gain[every, best] = -(10**9)
    return torch.stack(chosen, dim=1)
