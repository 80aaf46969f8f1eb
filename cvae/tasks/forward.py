"""The forward operator ``f``: solutions to conditions, from expressions or from a Python callable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import hydra.utils
import torch
from torch import Tensor

from cvae.config import plain
from cvae.errors import UserError
from cvae.tasks.expressions import Expression
from cvae.tasks.lines import Lines
from cvae.tasks.space import Space

ForwardConfig = list[str] | dict[str, Any]


class ForwardOperator(Protocol):
    """Maps solutions ``(..., *x_shape)`` to conditions ``(..., *y_shape)``, differentiably.

    Attributes:
        y_shape: shape of one condition: ``(conditions, points)`` for lines, ``(values,)`` for a vector.
        conditions: how many conditions y consists of, each with a misfit of its own.
        config: plain data from which :func:`forward_from_config` builds the same operator again.
        name: what messages call it.
    """

    y_shape: tuple[int, ...]
    conditions: int
    config: ForwardConfig
    name: str

    def __call__(self, x: Tensor) -> Tensor:
        """Conditions ``(..., *y_shape)`` of solutions ``(..., *x_shape)``."""


class ExpressionForward:
    """One :class:`~cvae.tasks.expressions.Expression` for each condition.

    Args:
        expressions: their texts.
        space: the solutions: lines x0, x1, ... or a vector with the entries x0, x1, ...

    Raises:
        ExpressionError: for text outside the language.
        UserError: for no expression.
    """

    def __init__(self, expressions: Sequence[str], space: Space) -> None:
        if not expressions:
            raise UserError('data.forward is empty; give one expression per condition, for example ["x0 * x1"].')
        lines = isinstance(space, Lines)
        self._expressions = [Expression(text, space.x_shape[0], position=lines) for text in expressions]
        self._space = space
        self._axis = -2 if lines else -1
        self.conditions = len(self._expressions)
        self.y_shape = (self.conditions, *space.x_shape[1:])
        self.config: ForwardConfig = [expression.text for expression in self._expressions]
        self.name = ", ".join(expression.text for expression in self._expressions)

    def __call__(self, x: Tensor) -> Tensor:
        """Conditions ``(..., *y_shape)`` of solutions ``(..., *x_shape)``."""
        t = self._space.position(x) if isinstance(self._space, Lines) else None
        variables = x.unbind(self._axis)
        return torch.stack([expression(variables, t) for expression in self._expressions], dim=self._axis)


class CallableForward:
    """A Python callable with the signature of :class:`ForwardOperator`, checked on a first batch.

    For lines it returns ``(..., conditions, points)``; for a vector ``(..., values)``, which is one condition.

    Raises:
        UserError: if the callable fails, returns another shape, or has no gradient with respect to ``x``.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], config: dict[str, Any], space: Space) -> None:
        self._function = function
        self.config: ForwardConfig = config
        self.name = str(config.get("_target_", function))
        self.y_shape = self._probe(space)
        self.conditions = self.y_shape[0] if isinstance(space, Lines) else 1

    def __call__(self, x: Tensor) -> Tensor:
        """Conditions ``(..., *y_shape)`` of solutions ``(..., *x_shape)``."""
        return self._function(x)

    def _probe(self, space: Space) -> tuple[int, ...]:
        theta = space.sample(2, torch.Generator().manual_seed(0))
        x = space.decode(theta).unsqueeze(0).requires_grad_()
        if isinstance(space, Lines):
            wanted = f"(..., conditions, {space.points}) for lines (..., {space.lines}, {space.points})"
        else:
            wanted = f"(..., values) for vectors (..., {space.parameters})"
        try:
            y = self._function(x)
        except Exception as error:
            raise UserError(
                f"data.forward: {self.name} failed on x {tuple(x.shape)}: {type(error).__name__}: {error}. "
                f"It must return {wanted}."
            ) from error
        right = isinstance(y, Tensor) and y.dim() == x.dim() and y.shape[:2] == (1, 2) and y.numel() > 0
        if not right or y.shape[3:] != x.shape[3:]:
            shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise UserError(f"data.forward: {self.name} returned {shape}; it must return {wanted}.")
        if not y.requires_grad:
            raise UserError(
                f"data.forward: {self.name} has no gradient with respect to x; compute it with torch "
                "operations and without detach() or numpy."
            )
        return tuple(y.shape[2:])


def forward_from_config(config: str | Sequence[str] | Mapping[str, Any], space: Space) -> ForwardOperator:
    """The forward operator that a config names.

    Args:
        config: a list of expressions, or ``{_target_: package.function}``. A target with further keys is called
            with them and must return the operator (a factory or a class with ``__call__``).
        space: the solutions that the operator will see.

    Raises:
        ExpressionError: for text outside the language.
        UserError: for a callable of the wrong shape, or one that cannot be imported.
    """
    config = plain(config)
    if not isinstance(config, Mapping):
        return ExpressionForward([config] if isinstance(config, str) else list(config), space)
    settings = dict(config)
    target = settings.get("_target_")
    if not isinstance(target, str):
        raise UserError("data.forward must be a list of expressions or {_target_: package.function}.")
    try:
        # a function named alone is the operator itself; anything else is called, and gives it
        function = hydra.utils.get_method(target) if len(settings) == 1 else None
        if function is None or isinstance(function, type):
            function = hydra.utils.instantiate(settings)
    except Exception as error:
        raise UserError(
            f"data.forward: {target} cannot be imported or built: {' '.join(str(error).split())}. "
            "Give the dotted path of a function on the Python path."
        ) from error
    if not callable(function):
        raise UserError(f"data.forward: {target} is not callable.")
    return CallableForward(function, settings, space)
