"""The forward operator ``f``: lines to observed curves, from expressions or from a Python callable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import hydra.utils
import torch
from torch import Tensor

from cvae.config import plain
from cvae.problems.expressions import Expression
from cvae.problems.geometry import LineGeometry

ForwardConfig = list[str] | dict[str, Any]


class ForwardOperator(Protocol):
    """Maps solutions ``(..., lines, points)`` to conditions ``(..., conditions, points)``, differentiably.

    ``config`` is the plain data from which :func:`forward_from_config` builds the same operator again;
    ``name`` is what messages call it; ``pointwise`` says that each point of y depends on that point of x alone.
    """

    conditions: int
    config: ForwardConfig
    name: str
    pointwise: bool

    def __call__(self, x: Tensor) -> Tensor: ...


class ExpressionForward:
    """One :class:`~cvae.problems.expressions.Expression` per condition."""

    pointwise = True

    def __init__(self, expressions: Sequence[str], geometry: LineGeometry) -> None:
        if isinstance(expressions, str):
            expressions = [expressions]
        if not expressions:
            raise ValueError('data.forward is empty; give one expression per condition, for example ["x0 * x1"].')
        self._expressions = [Expression(text, geometry.lines) for text in expressions]
        self._geometry = geometry
        self.conditions = len(self._expressions)
        self.config: ForwardConfig = [expression.text for expression in self._expressions]
        self.name = ", ".join(expression.text for expression in self._expressions)

    def __call__(self, x: Tensor) -> Tensor:
        t = self._geometry.position(x)
        return torch.stack([expression(x, t) for expression in self._expressions], dim=-2)


class CallableForward:
    """A Python callable with the signature of :class:`ForwardOperator`, checked on a first batch.

    Raises:
        ValueError: if the callable fails, returns another shape than ``(..., conditions, points)``, or has no
            gradient with respect to ``x``.
    """

    pointwise = False

    def __init__(self, function: Callable[[Tensor], Tensor], config: dict[str, Any], geometry: LineGeometry) -> None:
        self._function = function
        self.config: ForwardConfig = config
        self.name = str(config.get("_target_", function))
        self.conditions = self._probe(geometry)

    def __call__(self, x: Tensor) -> Tensor:
        return self._function(x)

    def _probe(self, geometry: LineGeometry) -> int:
        endpoints = geometry.sample(2, torch.Generator().manual_seed(0))
        x = geometry.to_lines(endpoints).reshape(1, 2, geometry.lines, geometry.points).requires_grad_()
        wanted = f"(..., conditions, {geometry.points}) for lines (..., {geometry.lines}, {geometry.points})"
        try:
            y = self._function(x)
        except Exception as error:
            raise ValueError(
                f"data.forward: {self.name} failed on lines {tuple(x.shape)}: {type(error).__name__}: {error}. "
                f"It must return {wanted}."
            ) from error
        if not isinstance(y, Tensor) or y.dim() != 4 or y.shape[:2] != (1, 2) or y.shape[-1] != geometry.points:
            shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"data.forward: {self.name} returned {shape}; it must return {wanted}.")
        if not y.requires_grad:
            raise ValueError(
                f"data.forward: {self.name} has no gradient with respect to the lines; compute it with torch "
                "operations and without detach() or numpy."
            )
        return y.shape[-2]


def forward_from_config(config: Sequence[str] | Mapping[str, Any], geometry: LineGeometry) -> ForwardOperator:
    """Build the forward operator that a config names.

    Args:
        config: a list of expressions, or ``{_target_: package.function}``. A target with further keys is called
            with them and must return the operator (a factory or a class with ``__call__``).
        geometry: the lines that the operator will see.

    Raises:
        ExpressionError: for text outside the language.
        ValueError: for a callable of the wrong shape, or one that cannot be imported.
    """
    config = plain(config)
    if not isinstance(config, Mapping):
        return ExpressionForward(list(config) if not isinstance(config, str) else [config], geometry)
    settings = dict(config)
    target = settings.get("_target_")
    if not isinstance(target, str):
        raise ValueError("data.forward must be a list of expressions or {_target_: package.function}.")
    try:
        # a function named alone is the operator itself; anything else is called, and gives it
        function = hydra.utils.get_method(target) if len(settings) == 1 else None
        if function is None or isinstance(function, type):
            function = hydra.utils.instantiate(settings)
    except Exception as error:
        raise ValueError(
            f"data.forward: {target} cannot be imported or built: {' '.join(str(error).split())}. "
            "Give the dotted path of a function on the Python path."
        ) from error
    if not callable(function):
        raise ValueError(f"data.forward: {target} is not callable.")
    return CallableForward(function, settings, geometry)
