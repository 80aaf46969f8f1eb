"""Straight lines on a grid, described by their endpoints."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.tasks.space import IndependentPrior, PriorConfig, Space, checked_bounds, constant, plain_prior

DIRECTIONS = {"falling": -1, "rising": 1}
#: of a line: a solution of as many fills megabytes, and more are a slip or an attack
MOST_POINTS = 1_000_000

#: a line that rises by less than this share of the range counts as flat; by how much it is made to rise instead
FLAT, STEP = 1e-6, 1e-3
#: least rise of a line that a network makes, as a share of the range; at least so many roundings of its values
APART, ROUNDINGS = 1e-4, 20


class Lines(Space):
    """Lines ``x_i(t) = left + (right - left) t`` with one required direction per line.

    The parameters are the endpoints ``(left, right)`` of each line in turn, ``(..., 2 lines)``.

    Args:
        points: grid points per line, at least 3 (a Pearson correlation needs them) and at most :data:`MOST_POINTS`.
        directions: ``"falling"`` or ``"rising"`` for each line.
        range: lowest and highest value that a line may take.
        prior: ``uniform`` or ``normal``, for all endpoints or one entry for each, see
            :class:`cvae.tasks.space.IndependentPrior`; the two of a line are sorted into its direction.

    Raises:
        UserError: for too few or too many points, no line, an unknown direction, an empty range or an unknown prior.
    """

    def __init__(
        self,
        points: int,
        directions: Sequence[str],
        range: Sequence[float] = (0.0, 1.0),
        prior: PriorConfig = "uniform",
    ) -> None:
        if points < 3:
            raise UserError(f"data.points is {points}; a line needs at least 3 points.")
        if points > MOST_POINTS:
            raise UserError(f"data.points is {points}; it must be at most {MOST_POINTS}.")
        if not directions:
            raise UserError("data.directions is empty; name one direction per line.")
        unknown = [direction for direction in directions if direction not in DIRECTIONS]
        if unknown:
            raise UserError(f"data.directions holds {unknown[0]!r}; each entry must be one of {', '.join(DIRECTIONS)}.")
        self.points, self.directions = points, tuple(directions)
        self.range = checked_bounds("data.range", range)
        self.lines = len(self.directions)
        self.x_shape = (self.lines, points)
        self.parameters = 2 * self.lines
        self.bounds = (self.range,) * self.parameters
        low, high = self.range
        rounding = torch.finfo(torch.float32).eps * max(abs(low), abs(high)) / (high - low)
        self._apart = max(APART, ROUNDINGS * rounding)
        self._steepest = tuple(end for one in self.directions for end in sorted(self.range, reverse=one == "falling"))
        self.prior = IndependentPrior(prior, self.bounds)
        self.config: dict[str, Any] = {
            "_target_": "cvae.tasks.Lines",
            "points": points,
            "directions": list(self.directions),
            "range": list(self.range),
            "prior": plain_prior(prior),
        }
        t = torch.linspace(0.0, 1.0, points, dtype=torch.float64)
        self._position = tuple(t.tolist())
        self._signs = tuple(float(DIRECTIONS[direction]) for direction in self.directions)

    @property
    def value_bounds(self) -> tuple[tuple[float, float], ...]:
        """The range, of every point."""
        return (self.range,)

    @property
    def names(self) -> list[str]:
        """``x0 left``, ``x0 right``, ``x1 left``, ..."""
        return [f"x{line} {end}" for line in range(self.lines) for end in ("left", "right")]

    def position(self, like: Tensor) -> Tensor:
        """Positions ``t`` of the grid points, ``(points,)``, from 0 to 1."""
        return constant(self._position, like)

    def signs(self, like: Tensor) -> Tensor:
        """Required slope signs, ``(lines,)``, -1 for falling and +1 for rising."""
        return constant(self._signs, like)

    def decode(self, theta: Tensor) -> Tensor:
        """Endpoints ``(..., parameters)`` to lines ``(..., lines, points)``."""
        ends = theta.unflatten(-1, (self.lines, 2))
        left, right = ends[..., :1], ends[..., 1:]
        return left + (right - left) * self.position(theta)

    def encode(self, x: Tensor) -> Tensor:
        """Exact for straight lines, the nearest straight line otherwise."""
        # in full precision, also under autocast, as the link of a head
        with torch.autocast(x.device.type, enabled=False):
            return (x @ constant(_fit(self.points), x).view(self.points, 2)).flatten(-2)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Endpoints ``(count, parameters)`` from the prior, sorted into the directions."""
        return self.order(super().sample(count, generator))

    def order(self, theta: Tensor) -> Tensor:
        """``theta`` ``(..., parameters)`` with the two endpoints of each line sorted into its direction."""
        ends = theta.unflatten(-1, (self.lines, 2))
        low, high = ends.amin(-1), ends.amax(-1)
        rising = self.signs(theta) > 0
        return torch.stack([torch.where(rising, low, high), torch.where(rising, high, low)], dim=-1).flatten(-2)

    def from_shares(self, share: Tensor) -> Tensor:
        """Numbers from 0 to 1 ``(..., parameters)`` to endpoints in range, in the required order and at least ``APART``
        of the range apart: of two that are alike at an end of it, no gradient of a link function parts them."""
        theta = self.order(super().from_shares(share))
        return theta.lerp(constant(self._steepest, theta), self._apart)

    def project(self, theta: Tensor) -> Tensor:
        """Nearest endpoints in range and in the required order, of the shape of ``theta``.

        A pair that would be flat (the Euclidean projection of one in the wrong order) rises or falls by
        ``STEP`` of the range instead: a flat line has no slope sign, so it is never valid.
        """
        low, high = self.range
        signs, span = self.signs(theta), high - low
        half = 0.5 * STEP * span
        left, right = theta.unflatten(-1, (self.lines, 2)).unbind(-1)
        mean = ((left + right) / 2).clamp(low + half, high - half)
        left, right = left.clamp(low, high), right.clamp(low, high)
        flat = (right - left) * signs <= FLAT * span
        ends = [torch.where(flat, mean - half * signs, left), torch.where(flat, mean + half * signs, right)]
        return torch.stack(ends, dim=-1).flatten(-2)

    def squared_error(self, theta: Tensor, x: Tensor) -> Tensor:
        """Mean squared distance ``(...)`` of the lines of ``theta`` ``(..., parameters)`` and ``x`` ``(..., lines,
        points)``."""
        # the mean over the points of a straight line is a quadratic form of its endpoints: no line is decoded
        a, b = (theta - self.encode(x)).unflatten(-1, (self.lines, 2)).unbind(-1)
        t = self.position(x)
        left, cross, right = (1 - t).square().mean(), 2 * (t * (1 - t)).mean(), t.square().mean()
        return (left * a * a + cross * a * b + right * b * b).mean(-1) / (self.range[1] - self.range[0]) ** 2

    def straightness(self, x: Tensor) -> Tensor:
        """Pearson correlation with the position times the slope sign, ``(..., lines)``, of ``x``
        ``(..., lines, points)``; 0 for a constant line (the correlation is undefined) and for non-finite values."""
        t = self.position(x)
        t = t - t.mean()
        centred = x - x.mean(-1, keepdim=True)
        spread = centred.square().sum(-1)
        # below the resolution of the number format a "slope" is rounding noise
        floor = self.points * (4 * torch.finfo(x.dtype).eps * max(map(abs, self.range))) ** 2
        pearson = (centred * t).sum(-1) / (spread * t.square().sum()).clamp_min(torch.finfo(x.dtype).tiny).sqrt()
        pearson = torch.where(spread > floor, pearson, torch.zeros_like(pearson))
        return pearson.nan_to_num(nan=0.0).clamp(-1, 1) * self.signs(x)


@functools.lru_cache(maxsize=32)
def _fit(points: int) -> tuple[float, ...]:
    """From a curve to the endpoints of the nearest straight line, a matrix ``(points, 2)`` row by row."""
    t = torch.linspace(0.0, 1.0, points, dtype=torch.float64)
    return tuple(torch.linalg.pinv(torch.stack([1 - t, t], dim=1)).T.flatten().tolist())
