"""The contract of everything that draws solutions."""

from __future__ import annotations

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
    """A sampler whose latent can be spread wider or narrower than its prior."""

    def tempered(self, temperature: float) -> Sampler:
        """The same sampler with the latent's standard deviation, or the flatness of its categories, multiplied by
        ``temperature``."""
