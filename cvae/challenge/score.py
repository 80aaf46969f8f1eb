"""Score a file of solutions, whoever made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cvae.data.layout import from_challenge_x, from_challenge_y, read_pairs
from cvae.files import finite
from cvae.metrics import line_metrics
from cvae.problems import Problem

#: draws for each condition in the challenge
DRAWS = 30
MEASURES = ("score", "coverage", "envelope", "valid", "rmse", "pearson")
# conditions measured at once; bounds the memory
CHUNK = 1_000
# the y of one group may differ by rounding, not by more than this share of the curve's scale
Y_TOLERANCE = 1e-5


class Scores(NamedTuple):
    """What a submission is worth.

    Attributes:
        measures: score, coverage, envelope, valid, rmse and pearson, means over conditions.
        conditions: number of different groups.
        draws: draws in each group.
        hint: what the user should know about the directions of the lines; None if they are as required.
    """

    measures: dict[str, float]
    conditions: int
    draws: int
    hint: str | None = None

    def to_json(self) -> str:
        """One line of valid JSON; numbers that are not finite become null."""
        content = self.measures | {"conditions": self.conditions, "draws": self.draws}
        return json.dumps(finite(content), allow_nan=False)


def read_submission(path: str | Path, problem: Problem, draws: int = DRAWS) -> tuple[Tensor, Tensor]:
    """Solutions and conditions of a submission.

    Args:
        path: see :func:`cvae.data.layout.read_pairs`; rows of one y follow each other, ``draws`` for each.
        problem: gives the shapes.
        draws: rows for each y.

    Returns:
        ``x`` ``(conditions, draws, lines, points)``, which may hold nan, and ``y`` ``(count, conditions, points)``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a damaged file, other shapes, incomplete groups, or y that differ within a group.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; it must be at least 1.")
    geometry = problem.geometry
    raw_x, raw_y = read_pairs(path)
    try:
        x = from_challenge_x(raw_x.detach(), geometry.lines, geometry.points)
        y = from_challenge_y(raw_y.detach(), problem.forward.conditions, geometry.points)
        if len(x) % draws:
            raise ValueError(f"{len(x)} rows are no multiple of draws={draws}, the solutions for each y.")
        return x.unflatten(0, (-1, draws)), _one_of_each(y, draws)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _one_of_each(y: Tensor, draws: int) -> Tensor:
    """``(count * draws, ...)`` to the ``(count, ...)`` that each group shares."""
    if not y.isfinite().all():
        raise ValueError(f"y is not finite in row {_first(~y.isfinite())}.")
    groups = y.unflatten(0, (-1, draws))
    scale = groups.abs().flatten(1).amax(1).clamp_min(1.0)
    differs = (groups - groups[:, :1]).abs().flatten(2).amax(2) > Y_TOLERANCE * scale.unsqueeze(1)
    if differs.any():
        group, row = differs.nonzero()[0].tolist()
        raise ValueError(
            f"y differs within group {group} (rows {group * draws} to {group * draws + draws - 1}), first in row "
            f"{group * draws + row}; the {draws} solutions of one y must follow each other, each with the y that was "
            "given, not with f(x)."
        )
    return groups[:, 0].contiguous()


def _first(mask: Tensor) -> int:
    return int(mask.flatten(1).any(1).nonzero()[0, 0])


@torch.no_grad()
def score_solutions(problem: Problem, x: Tensor, y: Tensor) -> Scores:
    """Measure solutions ``(batch, draws, lines, points)`` of conditions ``(batch, conditions, points)``."""
    metrics = line_metrics(problem)
    for some_x, some_y in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        metrics.update(some_x, problem.check(some_x, some_y))
    found = metrics.compute()
    measures = {name: float(found[name]) for name in MEASURES}
    return Scores(measures, len(x), x.shape[1], direction_hint(problem, x))


def score_file(path: str | Path, problem: Problem, draws: int = DRAWS) -> Scores:
    """Read and measure a submission; see :func:`read_submission` for what it raises."""
    return score_solutions(problem, *read_submission(path, problem, draws))


def direction_hint(problem: Problem, x: Tensor) -> str | None:
    """A message if most draws of some line run against ``data.directions``, else None.

    Args:
        problem: gives the required directions.
        x: solutions ``(batch, draws, lines, points)``.
    """
    slope = (x[..., -1] - x[..., 0]).flatten(0, 1)
    # a comparison with nan is false, so that lines which are not finite count for neither
    rising, falling = (slope > 0).float().mean(0), (slope < 0).float().mean(0)
    required = problem.geometry.directions
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


def print_scores(scores: Scores) -> None:
    """Print a table, a hint where there is one, and one JSON object as the last line."""
    table = Table("measure", "value")
    for name, value in scores.measures.items():
        table.add_row(name, f"{value:.4f}")
    table.add_row("conditions", str(scores.conditions))
    table.add_row("draws", str(scores.draws))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    if scores.hint:
        console.print(f"note: {scores.hint}", markup=False)
    print(scores.to_json(), flush=True)
