"""What is to be inverted: line geometry, forward operators from expressions, gates."""

from cvae.problems.expressions import Expression, ExpressionError
from cvae.problems.forward import CallableForward, ExpressionForward, ForwardOperator, forward_from_config
from cvae.problems.geometry import LineGeometry
from cvae.problems.problem import Check, Gates, Problem

__all__ = [
    "CallableForward",
    "Check",
    "Expression",
    "ExpressionError",
    "ExpressionForward",
    "ForwardOperator",
    "Gates",
    "LineGeometry",
    "Problem",
    "forward_from_config",
]
