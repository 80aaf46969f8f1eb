"""An inverse problem: space, forward operator and gates, and the one place where validity is decided."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from cvae.config import plain
from cvae.errors import UserError
from cvae.metrics.draws import RMSE, Coverage, Envelope, Pearson, RelativeRMSE, Score, Valid
from cvae.metrics.records import Check, Drawn
from cvae.tasks.box import Box
from cvae.tasks.forward import CallableForward, ForwardOperator, forward_from_config
from cvae.tasks.lines import Lines
from cvae.tasks.space import PriorConfig, Space, constant
from cvae.tasks.spread import prior_conditions, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Gates:
    """A draw passes when its misfit is below ``rmse`` and, for lines, its straightness above ``pearson``.

    Raises:
        UserError: unless ``0 < rmse < inf`` and ``-1 <= pearson < 1``.
    """

    rmse: float
    pearson: float | None = None

    def __post_init__(self) -> None:
        if self.pearson is not None and not -1 <= self.pearson < 1:
            raise UserError(f"data.gates.pearson is {self.pearson}; it must be in [-1, 1).")
        if not 0 < self.rmse < math.inf:
            raise UserError(f"data.gates.rmse is {self.rmse}; it must be {'finite' if self.rmse > 0 else 'positive'}.")


@dataclass(frozen=True)
class Problem:
    """A task with a known forward operator.

    Args:
        space: what solutions are made of.
        forward: maps solutions to conditions.
        gates: what a valid solution must pass.
    """

    space: Space
    forward: ForwardOperator
    gates: Gates
    headline = "score"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one solution."""
        return self.space.x_shape

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of one condition."""
        return self.forward.y_shape

    @property
    def config(self) -> dict[str, Any]:
        """Plain data from which the same problem is built again."""
        space = {name: value for name, value in self.space.config.items() if name != "_target_"}
        maker = "line_problem" if isinstance(self.space, Lines) else "box_problem"
        gates = {"rmse": self.gates.rmse} | ({} if self.gates.pearson is None else {"pearson": self.gates.pearson})
        return {"_target_": f"cvae.tasks.{maker}", **space, "forward": self.forward.config, "gates": gates}

    @property
    def digest(self) -> str:
        """Short hash of :attr:`config`, for caches; of a callable also what it returns, since its code may change."""
        described = json.dumps(self.config, sort_keys=True)
        if isinstance(self.forward, CallableForward):
            described += self._behaviour()
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    @torch.no_grad()
    def _behaviour(self) -> str:
        theta = self.space.sample(16, torch.Generator().manual_seed(0))
        values = self.forward(self.space.decode(theta)).flatten().tolist()
        # digits that another processor would round otherwise are left out
        return " ".join(f"{value:.4g}" for value in values)

    def x_scale(self, like: Tensor) -> Tensor:
        """Unit of residuals of x, see :meth:`cvae.tasks.space.Space.x_scale`."""
        return self.space.x_scale(like)

    def by_condition(self, y: Tensor) -> Tensor:
        """``y`` ``(..., *y_shape)`` as ``(..., conditions, values)``."""
        flat = y.flatten(y.dim() - len(self.y_shape))
        return flat.unflatten(-1, (self.forward.conditions, -1))

    @cached_property
    def spread(self) -> tuple[float, ...]:
        """Spread of y under the prior, of each condition, see :func:`cvae.tasks.spread.spread`."""
        return tuple(spread(prior_conditions(self)).tolist())

    def misfits(self, x: Tensor, y: Tensor) -> Tensor:
        """RMSE of each condition; inf where it is not finite.

        Args:
            x: solutions ``(..., *x_shape)``.
            y: conditions ``(..., *y_shape)``, broadcast against ``x``.

        Returns:
            ``(..., conditions)``.
        """
        squares = self.by_condition(self.forward(x) - y).square().mean(-1)
        return squares.sqrt().nan_to_num(nan=torch.inf, posinf=torch.inf)

    def misfit(self, x: Tensor, y: Tensor) -> Tensor:
        """Largest of :meth:`misfits`, ``(...)``."""
        return self.misfits(x, y).amax(-1)

    def gate_ratios(self, x: Tensor, y: Tensor) -> Tensor:
        """How much of each gate is used up, at most 1 where a draw passes; differentiable, unlike :meth:`check`.

        Args:
            x: solutions ``(..., *x_shape)``.
            y: conditions ``(..., *y_shape)``, broadcast against ``x``.

        Returns:
            ``(..., gates)``: the misfit of each condition, for lines what each lacks in straightness, and how far the
            values are out of range, in hundredths of it, plus 1.
        """
        # a root has no gradient at zero
        squares = self.by_condition(self.forward(x) - y).square().mean(-1)
        ratios = [(squares + (1e-6 * self.gates.rmse) ** 2).sqrt() / self.gates.rmse]
        if self.gates.pearson is not None:
            straightness = self.space.straightness(x)
            assert straightness is not None
            ratios.append((1 - straightness) / (1 - self.gates.pearson))
        u = self.space.coordinates(x)
        outside = 100 * torch.maximum(-u, u - 1).amax(-1, keepdim=True)
        ratios.append(torch.where(outside > 0, 1 + outside, 0.0))
        return torch.cat(ratios, dim=-1)

    def relative(self, misfits: Tensor) -> Tensor:
        """Largest of the misfits ``(..., conditions)`` as shares of the spread of y, ``(...)``; a condition that is the
        same for all x counts 0."""
        scale = constant(self.spread, misfits)
        return torch.where(scale > 0, misfits / scale, 0.0).amax(-1)

    def judged_by(self, gates: Mapping[str, float]) -> Problem:
        """The same problem with some other gates, by name.

        Raises:
            UserError: for a gate that the problem does not have, or a value that makes no sense.
        """
        own = self.config["gates"]
        for name in gates.keys() - own.keys():
            raise UserError(
                f"gates.{name} is {gates[name]}, but this problem has no such gate; it has {', '.join(own)}."
            )
        return replace(self, gates=_gates(own | dict(gates), set(own)))

    @torch.no_grad()
    def check(self, x: Tensor, y: Tensor) -> Check:
        """Decide which generated solutions are valid. The only place where that is decided.

        Args:
            x: solutions ``(batch, draws, *x_shape)``.
            y: conditions ``(batch, *y_shape)``.

        Raises:
            ValueError: for other shapes.
        """
        if x.shape[2:] != self.x_shape:
            wanted = ", ".join(str(size) for size in self.x_shape)
            raise ValueError(f"solutions have shape {tuple(x.shape)}; expected (batch, draws, {wanted}).")
        if y.shape != (x.shape[0], *self.y_shape):
            raise ValueError(f"conditions have shape {tuple(y.shape)}; expected {(x.shape[0], *self.y_shape)}.")
        misfits = self.misfits(x, y.unsqueeze(1))
        misfit, in_range, straightness = misfits.amax(-1), self.space.in_range(x), self.space.straightness(x)
        valid = self._is_allowed(in_range, straightness) & (misfit < self.gates.rmse)
        return Check(misfit, in_range, valid, straightness, self.relative(misfits))

    def is_allowed(self, x: Tensor) -> Tensor:
        """Whether solutions ``(batch, draws, *x_shape)`` are in range and straight: all that validity asks but the
        misfit, and all that can be told without f; ``(batch, draws)``."""
        return self._is_allowed(self.space.in_range(x), self.space.straightness(x))

    def _is_allowed(self, in_range: Tensor, straightness: Tensor | None) -> Tensor:
        if straightness is None or self.gates.pearson is None:
            return in_range
        return in_range & (straightness > self.gates.pearson).all(-1)

    def drawn(self, which: Tensor, x: Tensor, y: Tensor) -> Drawn:
        """Draws with their check, see :meth:`cvae.tasks.Task.drawn`."""
        return Drawn(which, x, y, self.check(x, y))

    def measures(self) -> MetricCollection:
        """Measures of draws that need nothing but the draws and their check."""
        found: dict[str, Metric | MetricCollection] = {
            "score": Score(self.space.coordinates),
            "coverage": Coverage(self.space.coordinates),
            "envelope": Envelope(self.space.coordinates),
            "valid": Valid(),
            "rmse": RMSE(),
            "relative_rmse": RelativeRMSE(),
        }
        if isinstance(self.space, Lines):
            found["pearson"] = Pearson()
        # one compute group would be wrong: the measures differ in their update
        return MetricCollection(found, compute_groups=False)

    def figures(self, drawn: Drawn, references: Sequence[Tensor] = ()) -> dict[str, Figure]:
        """Solutions beside f(x') and y, see :meth:`cvae.tasks.Task.figures`."""
        # matplotlib takes a second to import
        from cvae.tasks.figures import line_figures, vector_figures

        if isinstance(self.space, Lines):
            return line_figures(self, drawn)
        return vector_figures(self, drawn, references)


def line_problem(
    points: int,
    directions: Sequence[str],
    range: Sequence[float],
    forward: Sequence[str] | Mapping[str, Any],
    gates: Mapping[str, float],
    prior: PriorConfig = "uniform",
) -> Problem:
    """A problem whose solutions are straight lines, from plain values.

    Args:
        points, directions, range, prior: see :class:`cvae.tasks.Lines`.
        forward: expressions over ``x0``, ``x1``, ..., ``t``, or a callable, see
            :func:`cvae.tasks.forward_from_config`.
        gates: ``pearson`` and ``rmse``, see :class:`Gates`.

    Raises:
        UserError: for any value that makes no sense; the message names it.
    """
    space = Lines(points, directions, range, plain(prior))
    return Problem(space, forward_from_config(forward, space), _gates(gates, {"pearson", "rmse"}))


def box_problem(
    bounds: Sequence[Sequence[float]],
    forward: Sequence[str] | Mapping[str, Any],
    gates: Mapping[str, float],
    prior: PriorConfig = "uniform",
) -> Problem:
    """A problem whose solutions are vectors in a box, from plain values.

    Args:
        bounds, prior: see :class:`cvae.tasks.Box`.
        forward: expressions over ``x0``, ``x1``, ..., or a callable.
        gates: ``rmse``, see :class:`Gates`.

    Raises:
        UserError: for any value that makes no sense; the message names it.
    """
    space = Box(plain(bounds), plain(prior))
    return Problem(space, forward_from_config(forward, space), _gates(gates, {"rmse"}))


def _gates(gates: Mapping[str, float], names: set[str]) -> Gates:
    wanted = " and ".join(sorted(names))
    if not isinstance(gates, Mapping):
        raise UserError(f"data.gates is {gates}; it must hold {wanted}.")
    wrong = set(gates) ^ names
    if wrong:
        raise UserError(f"data.gates must hold {wanted}; {sorted(wrong)[0]} is missing or unknown.")
    for name, value in gates.items():
        if not isinstance(value, int | float):
            raise UserError(f"data.gates.{name} is {value!r}; it must be a number.")
    return Gates(**{name: float(value) for name, value in gates.items()})
