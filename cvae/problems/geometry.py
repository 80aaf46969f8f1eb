"""Straight lines on a grid: endpoints, values, and the uniform prior over both."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

DIRECTIONS = {"falling": -1, "rising": 1}


#: a line that rises by less than this share of the range counts as flat; by how much it is made to rise instead
FLAT, STEP = 1e-6, 1e-3


@dataclass(frozen=True)
class LineGeometry:
    """Lines ``x_i(t) = left + (right - left) t`` with one required direction per line.

    Args:
        points: grid points per line, at least 3 (a Pearson correlation needs them).
        directions: ``"falling"`` or ``"rising"`` for each line.
        range: lowest and highest value that a line may take.

    Raises:
        ValueError: for fewer than 3 points, no line, an unknown direction or an empty range.
    """

    points: int
    directions: tuple[str, ...]
    range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "directions", tuple(self.directions))
        object.__setattr__(self, "range", tuple(float(bound) for bound in self.range))
        if self.points < 3:
            raise ValueError(f"data.points is {self.points}; a line needs at least 3 points.")
        if not self.directions:
            raise ValueError("data.directions is empty; name one direction per line.")
        unknown = [d for d in self.directions if d not in DIRECTIONS]
        if unknown:
            raise ValueError(
                f"data.directions holds {unknown[0]!r}; each entry must be one of {', '.join(DIRECTIONS)}."
            )
        if len(self.range) != 2 or not -math.inf < self.range[0] < self.range[1] < math.inf:
            raise ValueError(f"data.range is {list(self.range)}; it must be [lowest, highest] with lowest < highest.")

    @property
    def lines(self) -> int:
        return len(self.directions)

    @property
    def span(self) -> float:
        """Height of the range."""
        return self.range[1] - self.range[0]

    def position(self, like: Tensor | None = None) -> Tensor:
        """Positions ``t`` of the grid points, ``(points,)``, from 0 to 1."""
        if like is None:
            return torch.linspace(0.0, 1.0, self.points)
        return _constant("position", (self.points,), like)

    def signs(self, like: Tensor) -> Tensor:
        """Required slope signs, ``(lines,)``, -1 for falling and +1 for rising."""
        return _constant("signs", self.directions, like)

    def to_lines(self, endpoints: Tensor) -> Tensor:
        """Endpoints ``(..., lines, 2)`` to lines ``(..., lines, points)``."""
        t = self.position(endpoints)
        left, right = endpoints[..., :1], endpoints[..., 1:]
        return left + (right - left) * t

    def to_endpoints(self, x: Tensor) -> Tensor:
        """Least-squares endpoints ``(..., lines, 2)`` of ``x`` ``(..., lines, points)``.

        Exact for straight lines, the nearest straight line otherwise.
        """
        return x @ _constant("fit", (self.points,), x)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``(count, lines, 2)`` endpoints, both uniform over the allowed order of each line."""
        uniform = torch.rand(count, self.lines, 2, generator=generator, device=generator.device)
        return self.order(self.range[0] + self.span * uniform)

    def order(self, endpoints: Tensor) -> Tensor:
        """Sort each pair of endpoints ``(..., lines, 2)`` into the required direction."""
        low, high = endpoints.amin(-1), endpoints.amax(-1)
        rising = self.signs(endpoints) > 0
        return torch.stack([torch.where(rising, low, high), torch.where(rising, high, low)], dim=-1)

    def project(self, endpoints: Tensor) -> Tensor:
        """Nearest endpoints ``(..., lines, 2)`` in range and in the required order.

        A pair that would be flat (the Euclidean projection of one in the wrong order) rises or falls by
        ``STEP`` of the range instead: a flat line has no slope sign, so it is never valid.
        """
        signs, half = self.signs(endpoints), 0.5 * STEP * self.span
        left, right = endpoints.unbind(-1)
        mean = (left + right) / 2
        left, right = left.clamp(*self.range), right.clamp(*self.range)
        flat = (right - left) * signs <= FLAT * self.span
        mean = mean.clamp(self.range[0] + half, self.range[1] - half)
        return torch.stack(
            [torch.where(flat, mean - half * signs, left), torch.where(flat, mean + half * signs, right)], dim=-1
        )


def _position(like: Tensor, points: int) -> Tensor:
    return torch.linspace(0.0, 1.0, points, dtype=like.dtype, device=like.device)


def _signs(like: Tensor, *directions: str) -> Tensor:
    return torch.tensor([DIRECTIONS[direction] for direction in directions], dtype=like.dtype, device=like.device)


def _fit(like: Tensor, points: int) -> Tensor:
    """From a curve to the endpoints of the nearest straight line, ``(points, 2)``."""
    t = torch.linspace(0.0, 1.0, points, dtype=torch.float64)
    return torch.linalg.pinv(torch.stack([1 - t, t], dim=1)).T.to(like)


_MAKERS: dict[str, Callable[..., Tensor]] = {"position": _position, "signs": _signs, "fit": _fit}
_KEPT: dict[Hashable, Tensor] = {}


def _constant(name: str, arguments: tuple[int | str, ...], like: Tensor) -> Tensor:
    """A constant in the number format and on the device of ``like``; not to be written to.

    It is kept: made anew at each call, it would be copied to the device in every step, which stalls an accelerator.
    """
    if torch.compiler.is_compiling():
        return _MAKERS[name](like, *arguments)
    key = (name, arguments, like.dtype, like.device)
    found = _KEPT.get(key)
    if found is None:
        # made while validating, it must also do for training
        with torch.inference_mode(False), torch.no_grad():
            found = _KEPT[key] = _MAKERS[name](like, *arguments)
    return found


def geometry_from_config(points: int, directions: Sequence[str], range: Sequence[float]) -> LineGeometry:
    """Build a :class:`LineGeometry` from plain config values (lists become tuples)."""
    return LineGeometry(points=points, directions=tuple(directions), range=tuple(range))  # type: ignore[arg-type]
