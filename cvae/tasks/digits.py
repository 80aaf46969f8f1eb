"""Hand-written digits given their class."""

from __future__ import annotations

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

CLASSES = 10


@dataclass(frozen=True)
class Digits(GenerationTask):
    """Images ``(side, side)`` of one digit, grey values in [0, 1], given the digit as a one-hot vector.

    Args:
        side: of the image in pixels.

    Raises:
        UserError: for a side below 1.
    """

    side: int
    headline = "loss"

    def __post_init__(self) -> None:
        if self.side < 1:
            raise UserError(f"data.side is {self.side}; it must be at least 1.")

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one picture, ``(side, side)``."""
        return (self.side, self.side)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of a one-hot class."""
        return (CLASSES,)

    @property
    def config(self) -> dict[str, Any]:
        """Plain data from which the same task is built again."""
        return {"_target_": "cvae.tasks.Digits", "side": self.side}

    def figures(self, drawn: Drawn, references: Sequence[Tensor] = ()) -> dict[str, Figure]:
        """One picture, ``draws``: a column for each condition, a row for each draw."""
        from cvae.tasks.figures import image_figure

        return {"draws": image_figure(drawn.x.transpose(0, 1), "draws, a column for each digit that was asked for")}

    def conditions(self, values: Sequence[float]) -> Tensor:
        """One-hot vectors ``(count, 10)`` of classes 0 to 9.

        Raises:
            UserError: for no class, or one that is unknown.
        """
        if len(values) == 0:
            raise UserError("name the digits: number=2026, or condition=[2,0,2,6].")
        unknown = [value for value in values if value not in range(CLASSES)]
        if unknown:
            raise UserError(f"the class {unknown[0]} is unknown; a digit is one of 0, 1, ..., 9.")
        return torch.nn.functional.one_hot(torch.tensor([int(value) for value in values]), CLASSES).float()


def digits_of(number: object) -> list[int]:
    """The digits of a number or of a text such as ``007``.

    Raises:
        UserError: for anything but digits.
    """
    text = str(number)
    if isinstance(number, bool) or not (text.isascii() and text.isdigit()):
        raise UserError(f"number is {text}; it must be made of the digits 0 to 9 alone.")
    return [int(one) for one in text]
