"""Seconds of wall clock and processor, ratios of interleaved measurements, and what a part reports."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch


class Lap(NamedTuple):
    """Seconds of wall clock, and of the processor summed over all threads of this process."""

    wall: float
    cpu: float


class Watch:
    """Adds up seconds between :meth:`start` and :meth:`stop`; :meth:`take` gives the sum and begins at 0 again."""

    def __init__(self) -> None:
        self._sum = Lap(0.0, 0.0)
        self._since: Lap | None = None

    @staticmethod
    def _now() -> Lap:
        if torch.cuda.is_initialized():
            # its work is only queued up to here
            torch.cuda.synchronize()
        return Lap(time.perf_counter(), time.process_time())

    def start(self) -> None:
        self._since = self._now()

    def stop(self) -> None:
        """Does nothing if the watch is not running."""
        if self._since is not None:
            now = self._now()
            self._sum = Lap(self._sum.wall + now.wall - self._since.wall, self._sum.cpu + now.cpu - self._since.cpu)
            self._since = None

    def take(self) -> Lap:
        self.stop()
        lap, self._sum = self._sum, Lap(0.0, 0.0)
        return lap


def timed(function: Callable[[], object]) -> Lap:
    """What one call takes."""
    watch = Watch()
    watch.start()
    function()
    return watch.take()


class Spread(NamedTuple):
    """Median and quartiles of a ``number`` of measurements."""

    median: float
    low: float
    high: float
    number: int


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; the quartiles of one value are that value."""
    if len(values) < 2:
        return Spread(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


@dataclass(frozen=True)
class Ratio:
    """How fast ours is next to theirs, over neighbouring blocks of the same work.

    Attributes:
        wall, cpu: ``theirs / ours`` in seconds, block by block.
        total_wall, total_cpu: the same of the sums over all blocks, so with the ends of epochs weighed in.
        ours, theirs: items per second of wall clock, of the sums.
    """

    wall: Spread
    cpu: Spread
    total_wall: float
    total_cpu: float
    ours: float
    theirs: float


def ratio(ours: Sequence[Lap], theirs: Sequence[Lap], items: int) -> Ratio:
    """Compare laps over ``items`` items on each side.

    Raises:
        ValueError: for no laps, or another number of them on the two sides.
    """
    if not ours or len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} laps cannot be held against {len(theirs)}.")
    wall = spread([b.wall / a.wall for a, b in zip(ours, theirs, strict=True)])
    cpu = spread([b.cpu / a.cpu for a, b in zip(ours, theirs, strict=True)])
    sums = [Lap(sum(lap.wall for lap in laps), sum(lap.cpu for lap in laps)) for laps in (ours, theirs)]
    return Ratio(
        wall, cpu, sums[1].wall / sums[0].wall, sums[1].cpu / sums[0].cpu, items / sums[0].wall, items / sums[1].wall
    )


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        part: of the benchmark.
        name: what was measured.
        value: the number that the goal is about.
        unit: of the value; ``x`` for a ratio.
        goal: null where nothing was promised.
        at_most: whether the value shall be at most the goal, rather than at least.
        details: everything else that was measured.
    """

    part: str
    name: str
    value: float
    unit: str
    goal: float | None
    at_most: bool
    details: dict[str, Any]

    @property
    def reached(self) -> bool | None:
        """None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    @property
    def record(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"reached": self.reached}


def finding_of(part: str, name: str, measured: Ratio, goal: float | None) -> Finding:
    """The median of the wall-clock ratios, and everything else as details."""
    return Finding(part, name, measured.wall.median, "x", goal, False, _plain(asdict(measured)))


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value._asdict() if isinstance(value, Spread) else value for name, value in content.items()}
