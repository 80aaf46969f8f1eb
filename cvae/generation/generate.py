"""From conditions to solutions: draw, then gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cvae.problems import Check, Problem


class Model(Protocol):
    """Anything that draws solutions, such as :class:`cvae.CVAE`."""

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Plan:
    """How solutions are generated.

    Args:
        count: solutions for each condition.
        seed: fixes everything.
        chunk: draws decoded at once; bounds the memory.

    Raises:
        ValueError: for a number below 1.
    """

    count: int = 30
    seed: int = 0
    chunk: int = 65_536

    def __post_init__(self) -> None:
        for name in ("count", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"generation.{name} is {getattr(self, name)}; it must be at least 1.")


class Solutions(NamedTuple):
    """Generated solutions.

    Attributes:
        x: ``(batch, count, lines, points)``.
        check: their verdict.
        stages: measures after each stage, by the stage's name.
        evaluations: how often the network decoded a draw.
    """

    x: Tensor
    check: Check
    stages: Mapping[str, Mapping[str, float]]
    evaluations: int


@torch.no_grad()
def generate(model: Model, problem: Problem, y: Tensor, plan: Plan) -> Solutions:
    """Generate ``plan.count`` solutions for every condition ``y`` ``(batch, conditions, points)``.

    Invalid draws are kept and marked in ``check``.
    """
    generator = torch.Generator().manual_seed(plan.seed)
    pieces = [model.draw(piece, plan.count, generator) for piece in y.split(max(plan.chunk // plan.count, 1))]
    x = torch.cat(pieces)
    check = problem.check(x, y)
    stages = {"draw": {"valid": float(check.valid.float().mean())}}
    return Solutions(x, check, stages, len(y) * plan.count)
