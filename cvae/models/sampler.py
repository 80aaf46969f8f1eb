"""The contract of everything that draws solutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class Sampler(Protocol):
    """Draws solutions for conditions: a model, or a baseline without a network."""

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Solutions, not checked.

        Args:
            y: conditions ``(batch, *y_shape)``.
            draws: solutions for each condition.
            generator: source of all randomness.

        Returns:
            ``(batch, draws, *x_shape)``.
        """


@runtime_checkable
class Tempered(Protocol):
    """A sampler that can be spread wider or narrower than it is."""

    def tempered(self, temperature: float) -> Sampler:
        """The same sampler with the latent's standard deviation, or the flatness of its categories, multiplied by
        ``temperature``; that of an energy, with the energy divided by it."""


class AtTemperature:
    """A model's draws at a temperature of their own.

    Args:
        draw: from ``y``, ``draws``, ``generator`` and the temperature to solutions.
        temperature: the temperature.
    """

    def __init__(self, draw: Callable[[Tensor, int, torch.Generator, float], Tensor], temperature: float) -> None:
        self._draw, self._temperature = draw, temperature

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` for conditions ``(batch, *y_shape)``, not checked."""
        return self._draw(y, draws, generator, self._temperature)
