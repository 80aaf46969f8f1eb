"""A column of positions beside the curves of a table: recognised, checked and left out."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from cvae.errors import UserError, printable
from cvae.tasks import Lines, Problem

log = logging.getLogger(__name__)

#: names of a column of positions, also beside curves whose names do not begin with y
NAMES = ("t", "position")
#: by how much of a step rounded positions may differ from even ones
ROUNDED = 0.3


def without_positions(table: Tensor, names: Sequence[str], problem: Problem) -> Tensor:
    """``table`` ``(rows, columns)`` without a column, or row, of positions.

    A column called t or position is one, and so is the only one whose name is not that of a curve (y, y0, y_1, ...)
    beside others whose names are. Without such names, a first column or row is one that rises evenly from 0 to 1 or
    counts up from 0 or 1, and any that rises evenly where there is one more than conditions.

    Args:
        table: one or several curves, in columns or in rows.
        names: of the columns; none where they are not known.
        problem: gives the positions, even ones from 0 to 1.

    Raises:
        UserError: for a column of that name with other positions than those of the problem, for several such names, and
            where it is not clear whether there are positions: a first or last column that only rises or only falls, or
            a first or last row that rises evenly.
    """
    if not isinstance(problem.space, Lines) or table.dim() != 2:
        return table
    others = [number for number, name in enumerate(names) if not re.match(r"y(?![a-z])", name, re.I)]
    if names and not others:
        return table
    if len(others) == len(names):
        others = [number for number in others if names[number].lower() in NAMES]
    if len(others) > 1:
        told = ", ".join(names[number] for number in others)
        raise UserError(f"columns {told}: at most one may hold positions; name curves y, y0, y1, ... (t,y0,y1).")
    if others:
        return _named(table, others[0], names[others[0]], problem.space.points)
    for curves, what in ((table, "column"), (table.T, "row")):
        if curves.shape[0] == problem.space.points and _has_room(curves.shape[1], problem):
            kept = _unnamed(curves, what, problem)
            if kept is not curves:
                return kept if curves is table else kept.T
    return table


def _named(table: Tensor, number: int, name: str, points: int) -> Tensor:
    """The table without the column of positions of that number."""
    if len(table) != points or not _even(table[:, number]):
        raise UserError(
            f"column {name} holds {len(table)} positions from {table[0, number]:g} to {table[-1, number]:g}; the "
            f"problem has {points} (data.points), evenly spaced and rising. Interpolate y to these; or, if it is a "
            "curve, name it y, y0, y1, ... ."
        )
    return _told(table, number, f"column {name}")


def _unnamed(curves: Tensor, what: str, problem: Problem) -> Tensor:
    """Curves in columns without a first one that surely holds positions; ``what`` tells columns from rows."""
    for number, where in ((0, "first"), (-1, "last")):
        values = curves[:, number]
        if number == 0 and _even(values) and (_surely(values) or problem.forward.conditions > 1):
            return _told(curves, number, f"the first {what}")
        # many curves only rise or only fall, and rows are the usual form of an array of curves
        if _even(values) or (what == "column" and _monotone(values)):
            how = "rises evenly" if _even(values) else "only rises" if values[-1] > values[0] else "only falls"
            raise UserError(
                f"the {where} {what} {how} from {values[0]:g} to {values[-1]:g}: positions, or a curve? In a csv file, "
                "write a first line of names, t for positions (t,y) or y for a curve (y0,y1). Of an array, leave out "
                "positions; curves alone have the shape (curves, conditions, points)."
            )
    return curves


def _has_room(curves: int, problem: Problem) -> bool:
    """Whether there may be positions beside the curves."""
    conditions = problem.forward.conditions
    return curves == conditions + 1 if conditions > 1 else curves > 1


def _even(values: Tensor) -> bool:
    """Whether values rise evenly, up to rounding."""
    even = torch.linspace(float(values[0]), float(values[-1]), len(values), dtype=values.dtype)
    step = float(values[-1] - values[0]) / max(len(values) - 1, 1)
    return step > 0 and bool(((values - even).abs() <= ROUNDED * step).all())


def _monotone(values: Tensor) -> bool:
    """Whether values only rise or only fall."""
    steps = values.diff()
    return bool(values[0] != values[-1]) and bool((steps >= 0).all() or (steps <= 0).all())


def _surely(values: Tensor) -> bool:
    """Whether values that rise evenly go from 0 to 1, or count up from 0 or 1."""
    first, last = float(values[0]), float(values[-1])
    return (first, last) in ((0, 1), (0, len(values) - 1), (1, len(values)))


def _told(curves: Tensor, number: int, what: str) -> Tensor:
    values = curves[:, number]
    log.warning(
        "%s, from %g to %g, is read as the positions of the %d points.",
        printable(what), values[0], values[-1], len(curves),
    )  # fmt: skip
    return torch.cat([curves[:, :number], curves[:, number + 1 :]], dim=1)
