"""Output heads: from the decoder's features to solutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from cvae.recording import recorded
from cvae.tasks.space import Space


class Head(nn.Module):
    """What every head has: the number of ``outputs`` that it asks of the decoder."""

    outputs: int

    def squared_error(self, raw: Tensor, x: Tensor) -> Tensor:
        """Mean squared distance ``(batch, samples)`` of ``raw`` ``(batch, samples, outputs)``, decoded, to ``x``."""
        return (self(raw) - x.unsqueeze(1)).square().flatten(2).mean(2)


@recorded
class ValuesHead(Head):
    """Every value of a solution is an output of its own, without bounds (as in the starter).

    Args:
        x_shape: shape of a solution.
    """

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(x_shape)
        self.outputs = math.prod(self.shape)

    def forward(self, raw: Tensor) -> Tensor:
        """``(..., outputs)`` to ``(..., *x_shape)``."""
        return raw.float().unflatten(-1, self.shape)


@recorded
class ProbabilitiesHead(ValuesHead):
    """Every value of a solution is an output of its own in (0, 1): a probability or a grey value, for the likelihood
    :func:`cvae.losses.bernoulli`.

    Args:
        x_shape: shape of a solution.
    """

    def forward(self, raw: Tensor) -> Tensor:
        """``(..., outputs)`` to ``(..., *x_shape)``."""
        return super().forward(raw).sigmoid()


@recorded
class ParametersHead(Head):
    """The parameters of a solution, allowed by construction: lines are straight and have their directions, a vector is
    in its box.

    Args:
        space: what solutions are made of.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self.outputs = space.parameters

    def forward(self, raw: Tensor) -> Tensor:
        """``(..., parameters)`` to ``(..., *x_shape)``."""
        return self.space.decode(self.space.constrain(raw))

    def squared_error(self, raw: Tensor, x: Tensor) -> Tensor:
        """Mean squared distance ``(batch, samples)``, worked out on the parameters."""
        return self.space.squared_error(self.space.constrain(raw), x.unsqueeze(1))
