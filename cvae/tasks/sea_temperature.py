"""Sea-surface temperatures at six stations given the date."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.metrics.records import Drawn
from cvae.tasks.task import GenerationTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATIONS = 6
#: years that a condition may name; others are a day of the year or a slip
FIRST_YEAR, LAST_YEAR = 1900, 2100


def conditions_of(years: Tensor) -> Tensor:
    """Conditions ``(count, 3)`` of dates as decimal years ``(count,)`` in double precision: sine and cosine of the day
    of the year, as an angle, and the decimal year."""
    angle = 2 * math.pi * (years - years.floor())
    return torch.stack([angle.sin(), angle.cos(), years], dim=1).float()


@dataclass(frozen=True)
class SeaTemperature(GenerationTask):
    """x is the temperature at six stations on one day in degrees Celsius, ``(6,)``, as an anomaly or as measured; y is
    the date, ``(3,)``, see :func:`conditions_of`."""

    headline = "loss"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the temperatures of one day."""
        return (STATIONS,)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of a date."""
        return (3,)

    @property
    def config(self) -> dict[str, Any]:
        """Plain data from which the same task is built again."""
        return {"_target_": "cvae.tasks.SeaTemperature"}

    def figures(self, drawn: Drawn, references: Sequence[Tensor] = ()) -> dict[str, Figure]:
        """One picture, ``draws``: a panel for each date with the draws at each station."""
        from cvae.tasks.sea_figures import draws_figure

        return {"draws": draws_figure(drawn)}

    def conditions(self, values: Sequence[float]) -> Tensor:
        """Conditions ``(count, 3)`` for dates as decimal years; 2006.5 is the middle of 2006.

        Raises:
            UserError: for none, and for a number that is no year from 1900 to 2100.
        """
        if not values:
            raise UserError("condition is missing; give dates as decimal years, condition=[2006.04,2006.5].")
        wrong = next((value for value in values if not FIRST_YEAR <= value < LAST_YEAR + 1), None)
        if wrong is not None:
            raise UserError(
                f"condition holds {wrong}; a date must be a decimal year from {FIRST_YEAR} to {LAST_YEAR}, such as "
                "2006.5 for the middle of 2006."
            )
        return conditions_of(torch.tensor(values, dtype=torch.float64))
