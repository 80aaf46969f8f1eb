"""Where values of a setting lie on an axis, be they numbers or names."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from cvae.comparison.records import Value

#: ratio of the largest to the smallest value from which an axis is logarithmic
WIDE = 30
#: numbers that get a tick each; of more, some
MOST_TICKS = 6
WRAP = 16
#: fractions of its multiples fill an interval evenly
GOLDEN = 0.618033988749895


@dataclass(frozen=True)
class Scale:
    """Values laid out along an axis.

    Attributes:
        places: of each value, on a linear axis: the logarithm where numbers span decades, the index of a name.
        ticks: where to write labels.
        labels: for ``ticks``.
        ordered: whether places are those of numbers.
    """

    places: np.ndarray[Any, np.dtype[np.float64]]
    ticks: list[float]
    labels: list[str]
    ordered: bool

    @property
    def extent(self) -> tuple[float, float]:
        """Lowest and highest place."""
        return float(self.places.min()), float(self.places.max())

    def spread(self, share: float = 0.05) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Places where those that coincide are moved apart, so that every run is seen."""
        low, high = self.extent
        step = share * ((high - low) or 1.0)
        moved = self.places.copy()
        for place in np.unique(self.places):
            same = np.flatnonzero(self.places == place)
            if len(same) > 1:
                # in no order, since runs come sorted and would draw a slope that is not there
                scattered = (np.arange(len(same)) * GOLDEN) % 1
                moved[same] += min(1.0, 0.4 * len(same) ** 0.5) * step * (2 * scattered - 1)
        return moved

    def label(self, axis: Any) -> None:
        """Write the labels on an axis of matplotlib."""
        longest = max(len(line) for label in self.labels for line in label.split("\n"))
        slanted = longest * len(self.labels) > 30
        axis.set_major_locator(FixedLocator(self.ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_ticklabels(self.labels, rotation=30 if slanted else 0, ha="right" if slanted else "center",
                            rotation_mode="anchor" if slanted else "default")  # fmt: skip

    def limit(self, axes: Axes) -> None:
        """Leave some room at both ends."""
        low, high = self.extent
        room = 0.5 if not self.ordered else 0.12 * ((high - low) or 1.0)
        axes.set_xlim(low - room, high + room)


def scale_of(values: Sequence[Value]) -> Scale:
    """Lay out values: numbers by size, anything else by name."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values) and len(set(numbers)) > 1 and np.isfinite(numbers).all():
        return _numbers([float(number) for number in numbers])
    # numbers among names come first, by size
    known = sorted(set(values), key=lambda value: (not isinstance(value, int | float), _size(value), str(value)))
    places = np.array([known.index(value) for value in values], dtype=np.float64)
    labels = ["\n".join(textwrap.wrap(_written(value), WRAP, break_long_words=True)[:3]) or '""' for value in known]
    return Scale(places, [float(index) for index in range(len(known))], labels, ordered=False)


def _numbers(numbers: Sequence[float]) -> Scale:
    known = sorted(set(numbers))
    wide = known[0] > 0 and known[-1] / known[0] >= WIDE
    transform = np.log10 if wide else np.asarray
    if len(known) > MOST_TICKS:
        ends = transform([known[0], known[-1]])
        ticks = np.linspace(ends[0], ends[1], 5)
        labels = [f"{10**tick if wide else tick:.3g}" for tick in ticks]
    else:
        ticks = transform(known)
        labels = [f"{number:.4g}" for number in known]
    places = np.asarray(transform(numbers), dtype=np.float64)
    return Scale(places, [float(tick) for tick in ticks], labels, ordered=True)


def _size(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _written(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
