"""Seconds measured in turns, and the rows that the benchmark of speed reports."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from common import Row

from cvae.errors import UserError


def wall() -> float:
    """Seconds of wall clock, once the device has done all that was asked of it."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(function: Callable[[], object], clock: Callable[[], float] = wall) -> float:
    """Seconds that one call takes."""
    began = clock()
    function()
    return clock() - began


def in_turns(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each measurement, by name, made one after the other ``rounds`` times.

    Raises:
        UserError: for fewer than 1 round.
    """
    if rounds < 1:
        raise UserError(f"rounds is {rounds}; it must be at least 1.")
    laps: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            laps[name].append(measure())
    return laps


def finding(part: str, what: str, values: Sequence[float], unit: str = "", goal: float | None = None) -> Row:
    """One row of the report: median and quartiles of ``values``, and whether the median reaches the ``goal``, which is
    a lower bound of ratios (unit ``x``) and an upper bound of everything else."""
    row: Row = {"part": part, "what": what, "value": statistics.median(values), "unit": unit}
    if len(values) > 1:
        row["low"], _, row["high"] = statistics.quantiles(values, n=4, method="inclusive")
    if goal is not None:
        reached = row["value"] >= goal if unit == "x" else row["value"] <= goal
        row |= {"goal": goal, "reached": "yes" if reached else "no"}
    return row


def ratio(part: str, what: str, ours: Sequence[float], theirs: Sequence[float], goal: float | None = None) -> Row:
    """How fast ours is next to theirs: ``theirs / ours`` of neighbouring turns with the same work."""
    return finding(part, what, [b / a for a, b in zip(ours, theirs, strict=True)], "x", goal)
