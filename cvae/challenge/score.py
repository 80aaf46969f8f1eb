"""Scores of a file of solutions, of this project or another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.data.files import read_pairs
from cvae.data.layout import arrange_x, arrange_y
from cvae.errors import UserError
from cvae.tasks import Lines, Problem

#: draws for each condition in the challenge
DRAWS = 30
MEASURES = ("score", "coverage", "envelope", "valid", "rmse", "relative_rmse", "pearson")
# conditions measured at once; bounds the memory
CHUNK = 1_000
# the y of one group may differ by rounding, not by more than this share of the largest value, or of the gate
Y_TOLERANCE = 1e-5


class Scores(NamedTuple):
    """What a submission is worth.

    Attributes:
        measures: score, coverage, envelope, valid, rmse, relative_rmse and, of lines, pearson, means over conditions.
        conditions: number of different groups.
        draws: draws in each group.
        hint: what the user should know: that the lines have other directions than required, else that invalid draws
            make the score 0; None if there is nothing.
    """

    measures: dict[str, float]
    conditions: int
    draws: int
    hint: str | None = None

    @property
    def content(self) -> dict[str, float]:
        """All numbers by name."""
        return self.measures | {"conditions": self.conditions, "draws": self.draws}


def read_submission(path: str | Path, problem: Problem, draws: int = DRAWS) -> tuple[Tensor, Tensor]:
    """Solutions and conditions of a submission.

    Args:
        path: see :func:`cvae.data.files.read_pairs`; rows of one y follow each other, ``draws`` for each.
        problem: gives the shapes.
        draws: rows for each y.

    Returns:
        ``x`` ``(batch, draws, *x_shape)``, which may hold nan, and ``y`` ``(batch, *y_shape)``.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for a damaged file, other shapes, incomplete groups, or y that differ within a group.
    """
    if draws < 1:
        raise UserError(f"draws is {draws}; it must be at least 1.")
    x, y = read_pairs(path)
    try:
        x, y = arrange_x(x.detach(), problem), arrange_y(y.detach(), problem)
        if len(x) % draws:
            raise UserError(f"{len(x)} rows are no multiple of draws={draws}, the solutions for each y.")
        return x.unflatten(0, (-1, draws)), _one_of_each(y, draws, problem.gates.rmse)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _one_of_each(y: Tensor, draws: int, gate: float) -> Tensor:
    """``(count * draws, ...)`` to the ``(count, ...)`` that each group shares."""
    if not y.isfinite().all():
        raise UserError(f"y is not finite in row {_first(~y.isfinite())}.")
    groups = y.unflatten(0, (-1, draws))
    scale = groups.abs().flatten(1).amax(1).clamp_min(gate)
    differs = (groups - groups[:, :1]).abs().flatten(2).amax(2) > Y_TOLERANCE * scale.unsqueeze(1)
    if differs.any():
        group, row = differs.nonzero()[0].tolist()
        raise UserError(
            f"y differs within group {group} (rows {group * draws} to {group * draws + draws - 1}), first in row "
            f"{group * draws + row}; the {draws} solutions of one y must follow each other, each with the y that was "
            "given, not with f(x)."
        )
    return groups[:, 0].contiguous()


def _first(mask: Tensor) -> int:
    return int(mask.flatten(1).any(1).nonzero()[0, 0])


@torch.no_grad()
def score_solutions(problem: Problem, x: Tensor, y: Tensor) -> Scores:
    """Measure solutions ``(batch, draws, *x_shape)`` of conditions ``(batch, *y_shape)``."""
    metrics = problem.measures()
    for which in torch.arange(len(x)).split(CHUNK):
        metrics.update(problem.drawn(which, x[which], y[which]))
    found = metrics.compute()
    measures = {name: float(found[name]) for name in MEASURES if name in found}
    return Scores(measures, len(x), x.shape[1], direction_hint(problem, x) or invalid_hint(measures))


def score_file(path: str | Path, problem: Problem, draws: int = DRAWS) -> Scores:
    """Read and measure a submission; see :func:`read_submission` for what it raises."""
    return score_solutions(problem, *read_submission(path, problem, draws))


def invalid_hint(measures: Mapping[str, float]) -> str | None:
    """A message if some draws are invalid, else None."""
    if measures["valid"] == 1:
        return None
    return (
        f"{1 - measures['valid']:.2%} of the draws are invalid, and a y with any invalid draw has the score 0; "
        "generation=complete refines the draws and chooses valid ones."
    )


def direction_hint(problem: Problem, x: Tensor) -> str | None:
    """A message if most draws of some line run against ``data.directions``, else None.

    Args:
        problem: gives the required directions; None for one that is not about lines.
        x: solutions ``(batch, draws, *x_shape)``.
    """
    if not isinstance(problem.space, Lines):
        return None
    slope = (x[..., -1] - x[..., 0]).flatten(0, 1)
    # a comparison with nan is false, so that lines which are not finite count for neither
    rising, falling = (slope > 0).float().mean(0), (slope < 0).float().mean(0)
    required = problem.space.directions
    shown = [
        ("rising" if up > down else "falling") if max(up, down) > 0.5 else wanted
        for up, down, wanted in zip(rising.tolist(), falling.tolist(), required, strict=True)
    ]
    against = [line for line, direction in enumerate(shown) if direction != required[line]]
    if not against:
        return None
    share = {"rising": rising, "falling": falling}
    found = " and ".join(f"x{line} is {shown[line]} in {share[shown[line]][line]:.0%} of the draws" for line in against)
    return (
        f"{found}, but data.directions is [{', '.join(required)}], and such draws are invalid. If these are the "
        f"directions of the data, score with data.directions=[{','.join(shown)}]."
    )
