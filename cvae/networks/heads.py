"""Output heads: from the decoder's features to solutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cvae.problems.geometry import geometry_from_config


class Head(nn.Module):
    """What every head has: the number of ``outputs`` that it asks of the decoder."""

    outputs: int

    def squared_error(self, raw: Tensor, x: Tensor) -> Tensor:
        """Mean squared distance ``(batch, samples)`` of ``raw`` ``(batch, samples, outputs)``, decoded, to ``x``."""
        return (self(raw) - x.unsqueeze(1)).square().flatten(2).mean(2)


class PointsHead(Head):
    """Every point of every line is an output of its own, without bounds (as in the starter).

    Args:
        lines, points: shape of a solution.
    """

    def __init__(self, lines: int, points: int) -> None:
        super().__init__()
        self.shape = (lines, points)
        self.outputs = lines * points

    def forward(self, raw: Tensor) -> Tensor:
        """``(..., lines * points)`` to ``(..., lines, points)``."""
        return raw.float().unflatten(-1, self.shape)


class EndpointsHead(Head):
    """Two numbers per line, in range and in the required order by construction, so every line is straight.

    The two numbers are squashed into the range and sorted into the line's direction.

    Args:
        points, directions, range: the lines, see :class:`cvae.problems.LineGeometry`.
    """

    def __init__(self, points: int, directions: Sequence[str], range: Sequence[float]) -> None:
        super().__init__()
        self.geometry = geometry_from_config(points, directions, range)
        self.outputs = 2 * self.geometry.lines

    def forward(self, raw: Tensor) -> Tensor:
        """``(..., 2 lines)`` to ``(..., lines, points)``."""
        return self.geometry.to_lines(self.endpoints(raw))

    def squared_error(self, raw: Tensor, x: Tensor) -> Tensor:
        # the mean over the points of a straight line is a quadratic form of its endpoints: no line is decoded
        a, b = (self.endpoints(raw) - self.geometry.to_endpoints(x).unsqueeze(1)).unbind(-1)
        t = self.geometry.position(x)
        left, cross, right = (1 - t).square().mean(), 2 * (t * (1 - t)).mean(), t.square().mean()
        return (left * a * a + cross * a * b + right * b * b).mean(-1)

    def endpoints(self, raw: Tensor) -> Tensor:
        """``(..., 2 lines)`` to endpoints ``(..., lines, 2)``."""
        low, high = self.geometry.range
        # in full precision, also under autocast: a misfit near the gate needs more digits than half precision has
        share = torch.sigmoid(raw.float().unflatten(-1, (self.geometry.lines, 2)))
        return self.geometry.order((low + self.geometry.span * share).clamp(low, high))
