"""From conditions to solutions: draw, gate, refine, select."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cvae.generation.explore import Explorer
from cvae.generation.refine import refine_draws
from cvae.generation.search import search_missing
from cvae.generation.select import select_cover, select_separate
from cvae.metrics import coverage
from cvae.pieces import piece_size, pieces
from cvae.problems import Check, Problem
from cvae.problems.reference import has_isolated_solutions
from cvae.seeds import stream

log = logging.getLogger(__name__)

#: temperatures of a pool from which the best are chosen: wide on a continuum, where what misses is refined or left out
WIDE_CONTINUUM = 2.5
WIDE_SEPARATE = 1.5


class Model(Protocol):
    """Anything that draws solutions, such as :class:`cvae.CVAE`."""

    def draw(self, y: Tensor, draws: int, generator: torch.Generator, temperature: float | None = None) -> Tensor: ...


@dataclass(frozen=True)
class Plan:
    """How solutions are generated.

    Args:
        count: solutions kept for each condition.
        pool: solutions drawn for each condition, of which ``count`` are kept; None draws ``count``.
        temperature: of the latent; above 1 draws spread wider than the prior, at the price of more invalid ones. None
            takes the model's own for plain draws; a wider one where a choice follows, which is free to leave them out.
        refine_steps: Levenberg-Marquardt steps for draws that miss; 0 leaves them.
        search: simulated solutions to search, without the network, for conditions that still have fewer than ``count``
            valid draws; 0 leaves them as they are. Needs ``refine_steps``.
        explore: further draws for each condition, from disturbed and refined copies of the valid ones. Needs
            ``refine_steps``.
        seed: fixes everything.
        chunk: draws held at once, those of one condition at least; bounds the memory. What is worked out on the way
            is worked out for a few thousand draws at a time.

    Raises:
        ValueError: for a number that makes no sense.
    """

    count: int = 30
    pool: int | None = None
    temperature: float | None = None
    refine_steps: int = 0
    search: int = 0
    explore: int = 0
    seed: int = 0
    chunk: int = 65_536

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("refine_steps", 0), ("search", 0), ("explore", 0), ("chunk", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"generation.{name} is {getattr(self, name)}; it must be at least {least}.")
        for name in ("search", "explore"):
            if getattr(self, name) > 0 and self.refine_steps == 0:
                value = getattr(self, name)
                raise ValueError(f"generation.{name} is {value}, which needs generation.refine_steps above 0.")
        if self.temperature is not None and not self.temperature > 0:
            raise ValueError(f"generation.temperature is {self.temperature}; it must be positive.")
        if self.pool is not None and self.pool < self.count:
            raise ValueError(f"generation.pool is {self.pool}; it must be at least generation.count, {self.count}.")

    @property
    def drawn(self) -> int:
        """Draws for each condition."""
        return self.count if self.pool is None else self.pool


class Stage(NamedTuple):
    """What one stage left: draws per condition, share of valid ones, mean coverage of the valid ones, mean misfit."""

    draws: int
    valid: float
    coverage: float
    rmse: float


class Solutions(NamedTuple):
    """Generated solutions.

    Attributes:
        x: ``(batch, count, lines, points)``.
        check: their verdict.
        stages: what each stage left: ``draw`` (plain draws), then ``refine``, ``search``, ``explore`` and
            ``select`` if the plan has them.
        evaluations: how often the network decoded a draw.
        forward_evaluations: how often f was evaluated on one solution.
    """

    x: Tensor
    check: Check
    stages: Mapping[str, Stage]
    evaluations: int
    forward_evaluations: int


@torch.no_grad()
def generate(model: Model, problem: Problem, y: Tensor, plan: Plan, separate: bool | None = None) -> Solutions:
    """Generate ``plan.count`` solutions for every condition.

    Draws that are still invalid at the end are kept and marked in ``check``.

    Args:
        model: draws solutions.
        problem: decides validity.
        y: conditions ``(batch, conditions, points)``.
        plan: how many, and which stages.
        separate: whether exact solutions are separate points; None finds out.
    """
    if separate is None:
        separate = has_isolated_solutions(problem)
    temperature = plan.temperature
    if temperature is None and plan.drawn > plan.count:
        temperature = WIDE_SEPARATE if separate else WIDE_CONTINUUM
    generator = torch.Generator().manual_seed(plan.seed)
    # of its own, so that the draws of a later chunk do not depend on how many draws of an earlier one were refined
    targets = stream(plan.seed, 11)
    explorer = Explorer(problem, plan.refine_steps, plan.seed, exact=separate) if plan.explore > 0 else None
    sums: dict[str, list[float]] = {}
    kept: list[Tensor] = []
    forward_evaluations = 0

    def note(stage: str, x: Tensor, check: Check) -> None:
        swept = coverage(x, check.valid, problem.geometry.range).sum()
        row = [float(len(x)), float(check.valid.float().mean(1).sum()), float(swept), float(check.misfit.mean(1).sum())]
        sums[stage] = [old + new for old, new in zip(sums.get(stage, [0.0] * 4), row, strict=True)]

    for piece in y.split(max(plan.chunk // (plan.drawn + plan.explore), 1)):
        x = model.draw(piece, plan.drawn, generator, temperature)
        check = check_in_pieces(problem, x, piece)
        forward_evaluations += len(piece) * plan.drawn
        note("draw", x, check)
        if plan.refine_steps > 0:
            x, used = refine_draws(problem, x, piece, check, plan.refine_steps, targets, exact=separate)
            forward_evaluations += used
            check = check_in_pieces(problem, x, piece)
            note("refine", x, check)
        if plan.search > 0:
            x, searched, used = search_missing(
                problem, x, piece, check, plan.count, plan.search, plan.refine_steps, plan.seed, exact=separate,
                first=sum(map(len, kept)),
            )  # fmt: skip
            if searched:
                log.info("%d of %d conditions had too few valid draws and were searched.", searched, len(piece))
            forward_evaluations += used
            check = check_in_pieces(problem, x, piece)
            note("search", x, check)
        if explorer is not None:
            further, used = explorer(x, piece, check, plan.explore)
            forward_evaluations += used
            x = torch.cat([x, further], dim=1)
            check = check_in_pieces(problem, x, piece)
            note("explore", x, check)
        if x.shape[1] > plan.count:
            select = select_separate if separate else select_cover
            chosen = select(problem, x, check, plan.count)
            x = x.gather(1, chosen[..., None, None].expand(-1, -1, *x.shape[2:]))
            note("select", x, check_in_pieces(problem, x, piece))
        kept.append(x)
    result = torch.cat(kept)
    draws = {"draw": plan.drawn, "refine": plan.drawn, "search": plan.drawn, "explore": plan.drawn + plan.explore}
    draws["select"] = plan.count
    stages = {
        name: Stage(draws[name], *(value / max(conditions, 1) for value in rest))
        for name, (conditions, *rest) in sums.items()
    }
    return Solutions(result, check_in_pieces(problem, result, y), stages, len(y) * plan.drawn, forward_evaluations)


def check_in_pieces(problem: Problem, x: Tensor, y: Tensor) -> Check:
    """``problem.check(x, y)``, a few thousand draws at a time."""
    batch, draws = x.shape[:2]
    size = piece_size(x.device, x.shape[2] * x.shape[3])
    if batch * draws <= size:
        return problem.check(x, y)
    found: Check | None = None
    for some, part in pieces(batch, draws, size):
        piece = problem.check(x[some, part], y[some])
        if found is None:
            found = Check(*(field.new_empty(batch, draws, *field.shape[2:]) for field in piece))
        for whole, field in zip(found, piece, strict=True):
            whole[some, part] = field
    assert found is not None
    return found
