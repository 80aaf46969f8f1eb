"""What x and y are, and what counts: spaces of solutions, forward operators, gates."""

from cvae.tasks.box import Box
from cvae.tasks.digits import Digits
from cvae.tasks.expressions import Expression, ExpressionError
from cvae.tasks.forward import CallableForward, ExpressionForward, ForwardOperator, forward_from_config
from cvae.tasks.gaussian_mixture import GaussianMixture, Mixture
from cvae.tasks.light_curves import LightCurves
from cvae.tasks.lines import Lines
from cvae.tasks.problem import Gates, Problem, box_problem, line_problem
from cvae.tasks.sea_temperature import SeaTemperature
from cvae.tasks.space import Space
from cvae.tasks.swiss_roll import SwissRoll
from cvae.tasks.task import GenerationTask, Task

__all__ = [
    "Box",
    "CallableForward",
    "Digits",
    "Expression",
    "ExpressionError",
    "ExpressionForward",
    "ForwardOperator",
    "Gates",
    "GaussianMixture",
    "GenerationTask",
    "LightCurves",
    "Lines",
    "Mixture",
    "Problem",
    "SeaTemperature",
    "Space",
    "SwissRoll",
    "Task",
    "box_problem",
    "forward_from_config",
    "line_problem",
]
