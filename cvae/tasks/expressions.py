"""Forward operators from text: a small arithmetic language, parsed and never evaluated as Python."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from cvae.errors import UserError

Value = Tensor | float
#: a part of an expression: from the variables x0, x1, ... and the position t to its value
Node = Callable[[Sequence[Tensor], Tensor | None], Value]

MAX_LENGTH = 2_000

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "tanh": torch.tanh,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"minimum": torch.minimum, "maximum": torch.maximum}
_CONSTANTS = {"pi": math.pi}
_OPERATORS: dict[type[ast.operator], Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: torch.add,
    ast.Sub: torch.sub,
    ast.Mult: torch.mul,
    ast.Div: torch.div,
    ast.Pow: torch.pow,
}


class ExpressionError(UserError):
    """A forward expression outside the allowed language; the message points at the column."""

    def __init__(self, text: str, column: int, problem: str) -> None:
        self.column = column
        shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
        super().__init__(
            f"data.forward: {problem}, at column {column + 1}\n    {shown}\n    {' ' * column}^\n"
            f"Allowed: x0, x1, ..., t (of lines), pi, numbers, + - * / **, parentheses and "
            f"{' '.join([*_UNARY, *_BINARY])}."
        )


class Expression:
    """A differentiable function of x0, x1, ..., read from text.

    The text is parsed by :mod:`ast` and translated node by node through an allow-list; nothing is ever
    passed to the interpreter.

    Args:
        text: for example ``"cos(49*x0 + 42*x1)"``; names are ``x0``, ``x1``, ..., ``pi`` and, where the variables are
            curves, ``t`` (position, 0 to 1).
        variables: number of variables, so that ``x2`` on a problem with two is an error.
        position: whether ``t`` exists.

    Raises:
        ExpressionError: for anything outside the language.
    """

    def __init__(self, text: str, variables: int, position: bool = True) -> None:
        if not isinstance(text, str):
            raise ExpressionError(repr(text), 0, f"an expression must be text, not {type(text).__name__}")
        self.text = text.strip()
        self.variables, self.position = variables, position
        self._node = self._compile(self._parse())

    def __call__(self, x: Sequence[Tensor], t: Tensor | None = None) -> Tensor:
        """Values of the common shape of the variables.

        Args:
            x: the variables, tensors of one shape: ``(..., points)`` for lines, ``(...)`` for a vector.
            t: positions ``(points,)``, for lines.
        """
        return _tensor(self._node(x, t), x[0]).expand(x[0].shape)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def _parse(self) -> ast.expr:
        if not self.text:
            raise ExpressionError(self.text, 0, "the expression is empty")
        if len(self.text) > MAX_LENGTH:
            shown = self.text[:60] + " ..."
            raise ExpressionError(shown, 0, f"the expression has more than {MAX_LENGTH} characters")
        for column, character in enumerate(self.text):
            # Python's parser would read full-width letters as plain ones, count bytes as columns and pass over comments
            if not (character.isascii() and character.isprintable()) or character == "#":
                raise ExpressionError(self.text, column, f"{character!r} is not part of the language")
        try:
            return ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            # without an offset the text ended too early
            column = error.offset - 1 if error.offset else len(self.text)
            raise ExpressionError(self.text, column, f"not an expression ({error.msg})") from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise ExpressionError(self.text, 0, f"cannot be parsed ({error})") from None

    def _fail(self, node: ast.expr, problem: str) -> ExpressionError:
        return ExpressionError(self.text, node.col_offset, problem)

    def _compile(self, node: ast.expr) -> Node:
        try:
            return self._translate(node)
        except RecursionError:
            raise ExpressionError(self.text, 0, "the expression is nested too deeply") from None

    def _translate(self, node: ast.expr) -> Node:
        if isinstance(node, ast.Constant):
            return self._number(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.UnaryOp):
            return self._sign(node)
        if isinstance(node, ast.BinOp):
            return self._operator(node)
        if isinstance(node, ast.Call):
            return self._function(node)
        raise self._fail(node, f"{type(node).__name__.lower()} is not part of the language")

    def _number(self, node: ast.Constant) -> Node:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self._fail(node, f"{node.value!r} is not a number")
        try:
            value = float(node.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self._fail(node, "the number is too large")
        return lambda x, t: value

    def _name(self, node: ast.Name) -> Node:
        name = node.id
        if name == "t" and self.position:
            return lambda x, t: cast(Tensor, t)
        if name in _CONSTANTS:
            constant = _CONSTANTS[name]
            return lambda x, t: constant
        digits = name[1:]
        if name.startswith("x") and digits.isascii() and digits.isdigit() and str(int(digits)) == digits:
            number = int(digits)
            if number < self.variables:
                return lambda x, t: x[number]
            given = "data.directions names" if self.position else "data.bounds holds"
            raise self._fail(node, f"{name} does not exist: {given} {self.variables}")
        if name in _UNARY or name in _BINARY:
            raise self._fail(node, f"{name} is a function: write {name}(...)")
        raise self._fail(node, f"unknown name {name!r}")

    def _sign(self, node: ast.UnaryOp) -> Node:
        operand = self._translate(node.operand)
        if isinstance(node.op, ast.USub):
            return lambda x, t: -operand(x, t)
        if isinstance(node.op, ast.UAdd):
            return operand
        raise self._fail(node, f"operator {type(node.op).__name__} is not part of the language")

    def _operator(self, node: ast.BinOp) -> Node:
        operator = _OPERATORS.get(type(node.op))
        if operator is None:
            raise self._fail(node, f"operator {type(node.op).__name__} is not part of the language")
        left, right = self._translate(node.left), self._translate(node.right)
        if isinstance(node.op, ast.Pow) and (exponent := _literal(node.right)) is not None:
            # a plain number as exponent keeps the gradient finite at 0 and for negative bases
            return lambda x, t: torch.pow(_tensor(left(x, t), x[0]), exponent)
        return lambda x, t: operator(_tensor(left(x, t), x[0]), _tensor(right(x, t), x[0]))

    def _function(self, node: ast.Call) -> Node:
        if not isinstance(node.func, ast.Name):
            raise self._fail(node.func, "only plain function names may be called")
        name = node.func.id
        if name not in _UNARY and name not in _BINARY:
            raise self._fail(node.func, f"unknown function {name!r}")
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._fail(node, f"{name} takes plain arguments only")
        wanted = 1 if name in _UNARY else 2
        if len(node.args) != wanted:
            raise self._fail(node, f"{name} takes {wanted} argument(s), not {len(node.args)}")
        arguments = [self._translate(argument) for argument in node.args]
        if name in _UNARY:
            unary = _UNARY[name]
            return lambda x, t: unary(_tensor(arguments[0](x, t), x[0]))
        binary = _BINARY[name]
        return lambda x, t: binary(_tensor(arguments[0](x, t), x[0]), _tensor(arguments[1](x, t), x[0]))


def _tensor(value: Value, like: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else like.new_tensor(value)


def _literal(node: ast.expr) -> float | None:
    """The value of a number with an optional minus sign, else None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _literal(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    return None
