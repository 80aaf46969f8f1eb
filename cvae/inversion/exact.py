"""Exact solution sets of problems whose structure is known: independent checks of the exhaustive search."""

from __future__ import annotations

import ast
import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.tasks import ExpressionForward, Lines, Problem, Space


class PhaseCondition(NamedTuple):
    """``wave(sum_i coefficients[i] * x_i + constant)`` with wave ``"cos"`` or ``"sin"``."""

    wave: str
    coefficients: tuple[float, ...]
    constant: float = 0.0


def phase_conditions(problem: Problem) -> list[PhaseCondition] | None:
    """The problem's conditions as phases, if :func:`phase_solutions` can enumerate its solutions; else None.

    That is the case for expressions such as ``2*cos(49*x0 + 42*x1 + pi/4) - 1``, as many as there are variables and
    with independent coefficients. Amplitudes and levels do not change which solutions are exact.
    """
    variables = problem.x_shape[0]
    if not isinstance(problem.forward, ExpressionForward) or problem.forward.conditions != variables:
        return None
    conditions = []
    for text in problem.forward.config:
        node = _without_amplitude(ast.parse(text, mode="eval").body, variables)
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("sin", "cos")):
            return None
        coefficients = _linear(node.args[0], variables)
        if coefficients is None:
            return None
        conditions.append(PhaseCondition(node.func.id, tuple(coefficients[:variables]), coefficients[variables]))
    matrix = torch.tensor([condition.coefficients for condition in conditions], dtype=torch.float64)
    return conditions if torch.linalg.matrix_rank(matrix) == variables else None


def _without_amplitude(node: ast.expr, variables: int) -> ast.expr:
    """``g`` of an expression ``a * g + b`` with constants ``a`` other than 0 and ``b``; the expression itself if it is
    none."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _without_amplitude(node.operand, variables)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        scales = isinstance(node.op, ast.Mult | ast.Div)
        sides = (
            [(node.left, node.right)]
            if isinstance(node.op, ast.Div)
            else [(node.left, node.right), (node.right, node.left)]
        )
        for inner, other in sides:
            constant = _linear(other, variables)
            if constant is not None and not any(constant[:variables]) and not (scales and constant[variables] == 0):
                return _without_amplitude(inner, variables)
    return node


def _linear(node: ast.expr, variables: int) -> list[float] | None:
    """Coefficients of x0, x1, ... and the constant of a linear expression; None for any other."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return [0.0] * variables + [float(node.value)]
    if isinstance(node, ast.Name) and node.id == "pi":
        return [0.0] * variables + [math.pi]
    if isinstance(node, ast.Name) and node.id.startswith("x"):
        return [float(line == int(node.id[1:])) for line in range(variables)] + [0.0]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _linear(node.operand, variables)
        return None if inner is None else [-value for value in inner]
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _linear(node.left, variables), _linear(node.right, variables)
    if left is None or right is None:
        return None
    if isinstance(node.op, ast.Add | ast.Sub):
        sign = 1 if isinstance(node.op, ast.Add) else -1
        return [a + sign * b for a, b in zip(left, right, strict=True)]
    if isinstance(node.op, ast.Mult):
        for factor, other in ((left, right), (right, left)):
            if not any(factor[:variables]):
                return [factor[variables] * value for value in other]
    if isinstance(node.op, ast.Div) and not any(right[:variables]) and right[variables] != 0:
        return [value / right[variables] for value in left]
    return None


def phase_solutions(space: Space, conditions: list[PhaseCondition], theta: Tensor) -> Tensor:
    """All solutions with the same conditions as the solution ``theta`` ``(parameters,)``.

    The phase of each condition is linear in the variables: for lines it is itself a line. Cosine is even and periodic,
    so every solution has the phases ``s * phase + 2 pi k`` with a sign ``s`` and an integer ``k`` per condition
    (``sin(p) = cos(p - pi/2)``); with as many conditions as variables the phases map back through the inverse of the
    matrix of coefficients.

    Args:
        space: lines or a box.
        conditions: as many as variables, with independent coefficients.
        theta: one known solution ``(parameters,)``.

    Returns:
        ``(count, parameters)``, those that the space allows, the known one among them.

    Raises:
        ValueError: if there are not as many conditions as variables, or their coefficients depend on each other.
    """
    variables = space.x_shape[0]
    matrix = torch.tensor([condition.coefficients for condition in conditions], dtype=torch.float64)
    if matrix.shape[0] != matrix.shape[1] or matrix.shape[1] != variables:
        raise ValueError(f"{len(conditions)} conditions for {variables} variables; as many are needed.")
    if torch.linalg.matrix_rank(matrix) < len(matrix):
        raise ValueError(f"the coefficients {matrix.tolist()} depend on each other.")
    inverse = torch.linalg.inv(matrix)
    # from the phase of a sine or cosine to that of the cosine without a constant
    offset = torch.tensor(
        [(math.pi / 2 if condition.wave == "sin" else 0.0) - condition.constant for condition in conditions],
        dtype=torch.float64,
    )
    # of each variable: the two ends of a line, or the value itself
    known = theta.double().view(variables, -1)
    phases = matrix @ known - offset.unsqueeze(1)  # as cosines, (conditions, ends)
    low, high = torch.tensor(space.bounds, dtype=torch.float64).view(variables, -1, 2)[:, 0].unbind(1)
    # the phases that variables in range can reach, per condition
    reach_low = torch.where(matrix > 0, matrix * low, matrix * high).sum(1) - offset
    reach_high = torch.where(matrix > 0, matrix * high, matrix * low).sum(1) - offset
    choices = []
    for row, phase in enumerate(phases):
        options = []
        for sign in (1, -1):
            signed = sign * phase
            first = math.ceil((float(reach_low[row]) - float(signed.min())) / (2 * math.pi) - 1e-9)
            last = math.floor((float(reach_high[row]) - float(signed.max())) / (2 * math.pi) + 1e-9)
            options += [signed + 2 * math.pi * turns for turns in range(first, last + 1)]
        choices.append(options)
    if not all(choices):
        return theta[:0].reshape(0, space.parameters)
    candidates = torch.stack([torch.stack(combination) for combination in itertools.product(*choices)])
    solutions = inverse @ (candidates + offset.unsqueeze(1))
    spare = 1e-9
    inside = ((solutions >= low[:, None] - spare) & (solutions <= high[:, None] + spare)).all(-1).all(-1)
    if isinstance(space, Lines):
        slopes = (solutions[..., 1] - solutions[..., 0]) * space.signs(solutions)
        inside &= (slopes > 0).all(-1)
    return space.clamp(solutions[inside].flatten(1)).to(theta.dtype)
