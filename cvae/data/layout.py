"""Accepted shapes of arrays, and how they map to the project's tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.tasks import Lines, Problem


def to_challenge(x: Tensor) -> Tensor:
    """Solutions ``(count, lines, points)`` to the challenge's ``(count, 1, points, lines)``."""
    return x.transpose(-1, -2).unsqueeze(1).contiguous()


def arrange_pairs(x: Tensor, y: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """Solutions ``(count, *x_shape)`` and conditions ``(count, *y_shape)`` of any accepted layout.

    Raises:
        UserError: for another shape.
    """
    return arrange_x(x, problem), arrange_y(y, problem)


def arrange_x(x: Tensor, problem: Problem) -> Tensor:
    """Solutions of any accepted layout to ``(count, *x_shape)``.

    Accepted for lines: ``(count, 1, points, lines)`` (the challenge), ``(count, points, lines)``,
    ``(count, lines, points)``; for vectors: ``(count, parameters)``.

    Raises:
        UserError: for another shape.
    """
    if not isinstance(problem.space, Lines):
        if x.shape[1:] != problem.x_shape:
            raise UserError(
                f"x has shape {tuple(x.shape)}; expected (count, {problem.space.parameters}), since data.bounds has "
                f"{problem.space.parameters} parameter(s)."
            )
        return x.contiguous()
    lines, points = problem.space.x_shape
    found = _curves(x, lines, points)
    if found is None:
        raise UserError(
            f"x has shape {tuple(x.shape)}; expected (count, 1, {points}, {lines}), that is {points} points of {lines} "
            "lines (data.points and data.directions say how many)."
        )
    return found


def arrange_y(y: Tensor, problem: Problem) -> Tensor:
    """Conditions of any accepted layout whose first axis counts them, to ``(count, *y_shape)``.

    Accepted for curves: ``(count, points)`` for one condition, ``(count, points, conditions)``,
    ``(count, 1, points, conditions)``, ``(count, conditions, points)``; for vectors: ``(count, values)`` and, for a
    single value, ``(count,)``.

    Raises:
        UserError: for another shape.
    """
    if not isinstance(problem.space, Lines):
        (values,) = problem.y_shape
        if y.dim() == 1 and values == 1:
            y = y.unsqueeze(1)
        if y.shape[1:] != (values,):
            raise UserError(f"y has shape {tuple(y.shape)}; expected (count, {values}), the values of data.forward.")
        return y.contiguous()
    conditions, points = problem.y_shape
    if y.dim() == 2 and conditions == 1 and y.shape[1] == points:
        return y.unsqueeze(1).contiguous()
    found = _curves(y, conditions, points)
    if found is None:
        raise UserError(
            f"y has shape {tuple(y.shape)}; expected (count, {points}, {conditions})"
            + (f" or (count, {points})" if conditions == 1 else "")
            + f", that is {points} points of {conditions} condition(s) (data.forward has one expression per condition)."
        )
    return found


def _curves(values: Tensor, curves: int, points: int) -> Tensor | None:
    """``(count, 1, points, curves)``, ``(count, points, curves)`` or ``(count, curves, points)`` to the latter."""
    if values.dim() == 4 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dim() == 3 and values.shape[1:] == (points, curves):
        return values.transpose(1, 2).contiguous()
    return values.contiguous() if values.dim() == 3 and values.shape[1:] == (curves, points) else None


def arrange_condition(values: Tensor, problem: Problem) -> Tensor:
    """One or many conditions of any accepted shape to ``(count, *y_shape)``.

    Accepted for curves: one condition as ``(conditions, points)``, ``(points, conditions)``, or ``(points,)`` if it is
    a single curve; many as ``(count, conditions, points)``, ``(count, points, conditions)``, ``(count, 1, points,
    conditions)``, or ``(count, points)`` and ``(points, count)`` if each is a single curve. For vectors: ``(values,)``
    and ``(count, values)``, and ``(count,)`` if each is a single value.

    Raises:
        UserError: for another shape, or one that can be read in two ways.
    """
    if not isinstance(problem.space, Lines):
        return arrange_y(values.unsqueeze(0) if tuple(values.shape) == problem.y_shape else values, problem)
    conditions, points = problem.y_shape
    shape = tuple(values.shape)
    readings = [reading for reading in _readings(values, conditions, points) if len(reading) > 0]
    if len(readings) == 1:
        return readings[0].contiguous()
    if readings:
        raise UserError(
            f"y has shape {shape}, which can be read in two ways, as {points} points of {conditions} condition(s) "
            f"along either axis; save it as (count, 1, {points}, {conditions})."
        )
    single = conditions == 1
    wanted = [f"({conditions}, {points})", f"({points}, {conditions})"]
    wanted += [f"(count, {conditions}, {points})", f"(count, {points}, {conditions})"]
    wanted += [f"(count, 1, {points}, {conditions})"] + ([f"({points},)", f"(count, {points})"] if single else [])
    raise UserError(
        f"y has shape {shape}; expected one of {', '.join(wanted)}: the problem has {points} points (data.points) and "
        f"{conditions} condition(s) (data.forward)."
    )


def _readings(values: Tensor, conditions: int, points: int) -> list[Tensor]:
    """All ways to read curves as ``(count, conditions, points)``."""
    shape = tuple(values.shape)
    single, one = conditions == 1, (conditions, points)
    if shape == (points,) and single:
        return [values.reshape(1, 1, points)]
    if values.dim() == 2 and single:
        rows = [values.unsqueeze(1)] if shape[1] == points else []
        return rows + ([values.T.unsqueeze(1)] if shape[0] == points else [])
    if values.dim() == 2:
        rows = [values.unsqueeze(0)] if shape == one else []
        return rows + ([values.T.unsqueeze(0)] if shape == one[::-1] else [])
    if values.dim() == 4 and shape[1:] == (1, points, conditions):
        return [values[:, 0].transpose(1, 2)]
    if values.dim() == 3:
        rows = [values] if shape[1:] == one else []
        return rows + ([values.transpose(1, 2)] if shape[1:] == one[::-1] else [])
    return []


def challenge_y(y: Tensor, draws: int) -> Tensor:
    """Conditions as the challenge's files have them, each ``draws`` times in a row.

    ``(count, points)`` for one curve, ``(count, 1, points, conditions)`` for several; ``(count, values)`` for vectors.
    """
    repeated = y.repeat_interleave(draws, dim=0)
    if y.dim() == 2:
        return repeated
    return repeated[:, 0].contiguous() if y.shape[1] == 1 else to_challenge(repeated)


def challenge_x(x: Tensor) -> Tensor:
    """Solutions as the challenge's files have them: ``(count, 1, points, lines)`` of lines, ``(count, parameters)`` of
    vectors."""
    return to_challenge(x) if x.dim() == 3 else torch.clone(x)
