"""What is to be inverted: geometry, forward operator and gates, and the one place where validity is decided."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cvae.problems.forward import CallableForward, ForwardOperator, forward_from_config
from cvae.problems.geometry import LineGeometry, geometry_from_config

RANGE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Gates:
    """A draw passes when its straightness is above ``pearson`` and its misfit below ``rmse``.

    Raises:
        ValueError: unless ``-1 <= pearson < 1`` and ``rmse > 0``.
    """

    pearson: float
    rmse: float

    def __post_init__(self) -> None:
        if not -1 <= self.pearson < 1:
            raise ValueError(f"data.gates.pearson is {self.pearson}; it must be in [-1, 1).")
        if not self.rmse > 0:
            raise ValueError(f"data.gates.rmse is {self.rmse}; it must be positive.")


class Check(NamedTuple):
    """Verdict on generated solutions; see :meth:`Problem.check`.

    Attributes:
        misfit: ``(batch, draws)``, RMSE between f(x') and y, the largest over the conditions; inf if not finite.
        straightness: ``(batch, draws, lines)``, Pearson correlation with the position times the required slope
            sign; 0 for a constant line and for one that is not finite.
        in_range: bool ``(batch, draws)``.
        valid: bool ``(batch, draws)``, all gates passed.
    """

    misfit: Tensor
    straightness: Tensor
    in_range: Tensor
    valid: Tensor

    def at(self, index: Any) -> Check:
        """Index every field along the batch, or along batch and draws."""
        return Check(*(field[index] for field in self))


@dataclass(frozen=True)
class Problem:
    """Geometry of the lines, forward operator and gates."""

    geometry: LineGeometry
    forward: ForwardOperator
    gates: Gates

    @classmethod
    def from_config(
        cls,
        points: int,
        directions: Sequence[str],
        range: Sequence[float],
        forward: Sequence[str] | Mapping[str, Any],
        gates: Mapping[str, float],
    ) -> Problem:
        """Build a problem from plain config values.

        Raises:
            ValueError: for any value that makes no sense; the message names it.
        """
        geometry = geometry_from_config(points, directions, range)
        unknown = set(gates) ^ {"pearson", "rmse"}
        if unknown:
            raise ValueError(f"data.gates must hold pearson and rmse; {sorted(unknown)} is missing or unknown.")
        gate = Gates(float(gates["pearson"]), float(gates["rmse"]))
        return cls(geometry, forward_from_config(forward, geometry), gate)

    @property
    def config(self) -> dict[str, Any]:
        """Plain data from which :meth:`from_config` builds the same problem."""
        return {
            "points": self.geometry.points,
            "directions": list(self.geometry.directions),
            "range": list(self.geometry.range),
            "forward": self.forward.config,
            "gates": {"pearson": self.gates.pearson, "rmse": self.gates.rmse},
        }

    @property
    def digest(self) -> str:
        """Short hash of :attr:`config`, for caches; of a callable also what it returns, since its code may change."""
        described = json.dumps(self.config, sort_keys=True)
        if isinstance(self.forward, CallableForward):
            described += self._behaviour()
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    @torch.no_grad()
    def _behaviour(self) -> str:
        endpoints = self.geometry.sample(16, torch.Generator().manual_seed(0))
        values = self.forward(self.geometry.to_lines(endpoints)).flatten().tolist()
        # digits that another processor would round otherwise are left out
        return " ".join(f"{value:.4g}" for value in values)

    def misfit(self, x: Tensor, y: Tensor) -> Tensor:
        """Largest RMSE over the conditions, ``(...,)``, of ``x`` ``(..., lines, points)`` against ``y``
        ``(..., conditions, points)``; inf where it is not finite."""
        squares = (self.forward(x) - y).square().mean(-1)
        return squares.sqrt().amax(-1).nan_to_num(nan=torch.inf, posinf=torch.inf)

    def straightness(self, x: Tensor) -> Tensor:
        """Pearson correlation with the position times the slope sign, ``(..., lines)``, of ``x``
        ``(..., lines, points)``; 0 for a constant line (the correlation is undefined) and for non-finite values."""
        t = self.geometry.position(x)
        t = t - t.mean()
        centred = x - x.mean(-1, keepdim=True)
        spread = centred.square().sum(-1)
        # below the resolution of the number format a "slope" is rounding noise
        floor = self.geometry.points * (4 * torch.finfo(x.dtype).eps * max(map(abs, self.geometry.range))) ** 2
        pearson = (centred * t).sum(-1) / (spread * t.square().sum()).clamp_min(torch.finfo(x.dtype).tiny).sqrt()
        pearson = torch.where(spread > floor, pearson, torch.zeros_like(pearson))
        return pearson.nan_to_num(nan=0.0).clamp(-1, 1) * self.geometry.signs(x)

    @torch.no_grad()
    def check(self, x: Tensor, y: Tensor) -> Check:
        """Decide which generated solutions are valid. The only place where that is decided.

        Args:
            x: solutions ``(batch, draws, lines, points)``.
            y: conditions ``(batch, conditions, points)``.

        Raises:
            ValueError: for other shapes.
        """
        geometry = self.geometry
        if x.dim() != 4 or x.shape[2:] != (geometry.lines, geometry.points):
            raise ValueError(
                f"solutions have shape {tuple(x.shape)}; expected (batch, draws, {geometry.lines}, {geometry.points})."
            )
        if y.shape != (x.shape[0], self.forward.conditions, geometry.points):
            raise ValueError(
                f"conditions have shape {tuple(y.shape)}; "
                f"expected ({x.shape[0]}, {self.forward.conditions}, {geometry.points})."
            )
        low, high = geometry.range
        misfit = self.misfit(x, y.unsqueeze(1))
        straightness = self.straightness(x)
        spare = RANGE_TOLERANCE * max(1.0, abs(low), abs(high))
        in_range = ((x >= low - spare) & (x <= high + spare)).all(-1).all(-1)
        valid = in_range & (misfit < self.gates.rmse) & (straightness > self.gates.pearson).all(-1)
        return Check(misfit, straightness, in_range, valid)
