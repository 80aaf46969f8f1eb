"""Exact solution sets of problems whose structure is known: independent checks of the exhaustive search."""

from __future__ import annotations

import ast
import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.problems.forward import ExpressionForward
from cvae.problems.geometry import LineGeometry
from cvae.problems.problem import Problem


class PhaseCondition(NamedTuple):
    """``wave(sum_i coefficients[i] * x_i + constant)`` with wave ``"cos"`` or ``"sin"``."""

    wave: str
    coefficients: tuple[float, ...]
    constant: float = 0.0


def phase_conditions(problem: Problem) -> list[PhaseCondition] | None:
    """The problem's conditions as phases, if :func:`phase_solutions` can enumerate its solutions; else None.

    That is the case for expressions such as ``2*cos(49*x0 + 42*x1 + pi/4) - 1``, as many as there are lines and with
    independent coefficients. Amplitudes and levels do not change which solutions are exact.
    """
    lines = problem.geometry.lines
    if not isinstance(problem.forward, ExpressionForward) or problem.forward.conditions != lines:
        return None
    conditions = []
    for text in problem.forward.config:
        node = _without_amplitude(ast.parse(text, mode="eval").body, lines)
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("sin", "cos")):
            return None
        coefficients = _linear(node.args[0], lines)
        if coefficients is None:
            return None
        conditions.append(PhaseCondition(node.func.id, tuple(coefficients[:lines]), coefficients[lines]))
    matrix = torch.tensor([condition.coefficients for condition in conditions], dtype=torch.float64)
    return conditions if torch.linalg.matrix_rank(matrix) == lines else None


def _without_amplitude(node: ast.expr, lines: int) -> ast.expr:
    """``g`` of an expression ``a * g + b`` with constants ``a`` other than 0 and ``b``; the expression itself if it is
    none."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _without_amplitude(node.operand, lines)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        scales = isinstance(node.op, ast.Mult | ast.Div)
        sides = (
            [(node.left, node.right)]
            if isinstance(node.op, ast.Div)
            else [(node.left, node.right), (node.right, node.left)]
        )
        for inner, other in sides:
            constant = _linear(other, lines)
            if constant is not None and not any(constant[:lines]) and not (scales and constant[lines] == 0):
                return _without_amplitude(inner, lines)
    return node


def _linear(node: ast.expr, lines: int) -> list[float] | None:
    """Coefficients of x0, x1, ... and the constant of a linear expression; None for any other."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return [0.0] * lines + [float(node.value)]
    if isinstance(node, ast.Name) and node.id == "pi":
        return [0.0] * lines + [math.pi]
    if isinstance(node, ast.Name) and node.id.startswith("x"):
        return [float(line == int(node.id[1:])) for line in range(lines)] + [0.0]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _linear(node.operand, lines)
        return None if inner is None else [-value for value in inner]
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _linear(node.left, lines), _linear(node.right, lines)
    if left is None or right is None:
        return None
    if isinstance(node.op, ast.Add | ast.Sub):
        sign = 1 if isinstance(node.op, ast.Add) else -1
        return [a + sign * b for a, b in zip(left, right, strict=True)]
    if isinstance(node.op, ast.Mult):
        for factor, other in ((left, right), (right, left)):
            if not any(factor[:lines]):
                return [factor[lines] * value for value in other]
    if isinstance(node.op, ast.Div) and not any(right[:lines]) and right[lines] != 0:
        return [value / right[lines] for value in left]
    return None


def phase_solutions(geometry: LineGeometry, conditions: list[PhaseCondition], endpoints: Tensor) -> Tensor:
    """All solutions with the same conditions as the solution ``endpoints`` ``(lines, 2)``.

    The phase of each condition is itself a line. Cosine is even and periodic, so every solution has the phases
    ``s * phase + 2 pi k`` with a sign ``s`` and an integer ``k`` per condition (``sin(p) = cos(p - pi/2)``); with as
    many conditions as lines the phases map back to endpoints through the inverse of the matrix of coefficients.

    Args:
        geometry: range and directions.
        conditions: as many as lines, with independent coefficients.
        endpoints: one known solution ``(lines, 2)``.

    Returns:
        ``(count, lines, 2)``, those in range and with the required slopes, the known one among them.

    Raises:
        ValueError: if there are not as many conditions as lines, or their coefficients depend on each other.
    """
    matrix = torch.tensor([condition.coefficients for condition in conditions], dtype=torch.float64)
    if matrix.shape[0] != matrix.shape[1] or matrix.shape[1] != geometry.lines:
        raise ValueError(f"{len(conditions)} conditions for {geometry.lines} lines; as many are needed.")
    if torch.linalg.matrix_rank(matrix) < len(matrix):
        raise ValueError(f"the coefficients {matrix.tolist()} depend on each other.")
    inverse = torch.linalg.inv(matrix)
    # from the phase of a sine or cosine to that of the cosine without a constant
    offset = torch.tensor(
        [(math.pi / 2 if condition.wave == "sin" else 0.0) - condition.constant for condition in conditions],
        dtype=torch.float64,
    )
    phases = matrix @ endpoints.double() - offset.unsqueeze(1)  # as cosines, (conditions, 2)
    low, high = geometry.range
    # the phases that lines within the range can reach, per condition
    reach_low = torch.where(matrix > 0, matrix * low, matrix * high).sum(1) - offset
    reach_high = torch.where(matrix > 0, matrix * high, matrix * low).sum(1) - offset
    choices = []
    for row, phase in enumerate(phases):
        lines = []
        for sign in (1, -1):
            signed = sign * phase
            first = math.ceil((float(reach_low[row]) - float(signed.min())) / (2 * math.pi) - 1e-9)
            last = math.floor((float(reach_high[row]) - float(signed.max())) / (2 * math.pi) + 1e-9)
            lines += [signed + 2 * math.pi * turns for turns in range(first, last + 1)]
        choices.append(lines)
    if not all(choices):
        return endpoints[:0].reshape(0, geometry.lines, 2)
    candidates = torch.stack([torch.stack(combination) for combination in itertools.product(*choices)])
    solutions = inverse @ (candidates + offset.unsqueeze(1))
    inside = ((solutions >= low - 1e-9) & (solutions <= high + 1e-9)).all(-1).all(-1)
    slopes = (solutions[..., 1] - solutions[..., 0]) * geometry.signs(solutions)
    return solutions[inside & (slopes > 0).all(-1)].clamp(low, high).to(endpoints.dtype)


def product_family(geometry: LineGeometry, endpoints: Tensor, count: int) -> Tensor:
    """Exact solutions ``(c x0, x1 / c)`` of ``y = x0 * x1``, ``(count, 2, 2)``, with ``log c`` spaced evenly.

    Args:
        geometry: range; two lines.
        endpoints: one known solution ``(2, 2)`` with positive values.
        count: number of solutions.
    """
    _, high = geometry.range
    top = endpoints.amax(1)
    smallest, largest = float(top[1]) / high, high / float(top[0])
    c = torch.logspace(math.log10(smallest), math.log10(largest), count, dtype=torch.float64).to(endpoints.dtype)
    return torch.stack([endpoints[0] * c[:, None], endpoints[1] / c[:, None]], dim=1)
