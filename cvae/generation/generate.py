"""From conditions to solutions: draw, check, refine, backfill, explore, select."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, overload

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.generation.backfill import Backfill
from cvae.generation.explore import Explorer
from cvae.generation.refine import refine_draws
from cvae.generation.select import select_cover, select_separate
from cvae.inversion import has_isolated_solutions
from cvae.metrics import Check, coverage
from cvae.models.sampler import Sampler, Tempered
from cvae.sampling import chunk_size, chunks
from cvae.seeds import Purpose, stream
from cvae.tasks import GenerationTask, Problem

log = logging.getLogger(__name__)

#: temperatures of candidates of which the best are kept: wide on a continuum, where what misses is refined or left out
WIDE_CONTINUUM = 2.5
WIDE_SEPARATE = 1.5


@dataclass(frozen=True)
class Plan:
    """How solutions are generated.

    Args:
        draws: solutions kept for each condition.
        candidates: solutions drawn for each condition, of which ``draws`` are kept; None draws ``draws``.
        temperature: of the latent; above 1 draws spread wider than the prior, at the price of more invalid ones. None
            takes the model's own for plain draws; a wider one where a choice follows, which is free to leave them out.
        refine_steps: Levenberg-Marquardt steps for draws that miss; 0 leaves them.
        backfill: simulations to search, without the network, for conditions that still have fewer than ``draws``
            valid draws; 0 leaves them as they are. Needs ``refine_steps``.
        explore: further draws for each condition, from disturbed and refined copies of the valid ones. Needs
            ``refine_steps``.
        seed: fixes everything.
        chunk: draws held at once, those of one condition at least; bounds the memory. What is worked out on the way
            is worked out for a few thousand draws at a time.

    Raises:
        UserError: for a number that makes no sense.
    """

    draws: int = 30
    candidates: int | None = None
    temperature: float | None = None
    refine_steps: int = 0
    backfill: int = 0
    explore: int = 0
    seed: int = 0
    chunk: int = 65_536

    def __post_init__(self) -> None:
        for name, least in (("draws", 1), ("refine_steps", 0), ("backfill", 0), ("explore", 0), ("chunk", 1)):
            if getattr(self, name) < least:
                raise UserError(f"generation.{name} is {getattr(self, name)}; it must be at least {least}.")
        for name in ("backfill", "explore"):
            if getattr(self, name) > 0 and self.refine_steps == 0:
                value = getattr(self, name)
                raise UserError(f"generation.{name} is {value}, which needs generation.refine_steps above 0.")
        if self.temperature is not None and not self.temperature > 0:
            raise UserError(f"generation.temperature is {self.temperature}; it must be positive.")
        if self.candidates is not None and self.candidates < self.draws:
            raise UserError(
                f"generation.candidates is {self.candidates}; it must be at least generation.draws, {self.draws}."
            )

    @property
    def drawn(self) -> int:
        """Candidates for each condition, of which ``draws`` are kept."""
        return self.draws if self.candidates is None else self.candidates


class Stage(NamedTuple):
    """What one stage left: draws per condition, share of valid ones, mean coverage of the valid ones, mean misfit."""

    draws: int
    valid: float
    coverage: float
    rmse: float


class Solutions(NamedTuple):
    """Generated solutions.

    Attributes:
        x: ``(batch, draws, *x_shape)``.
        check: their verdict.
        stages: what each stage left: ``draw`` (plain draws), then ``refine``, ``backfill``, ``explore`` and
            ``select`` if the plan has them.
        evaluations: how often the network decoded a draw.
        forward_evaluations: how often f was evaluated on one solution.
    """

    x: Tensor
    check: Check
    stages: Mapping[str, Stage]
    evaluations: int
    forward_evaluations: int


class Draws(NamedTuple):
    """Draws of a task without a forward operator.

    Attributes:
        x: ``(batch, draws, *x_shape)``.
        evaluations: how often the network decoded a draw.
    """

    x: Tensor
    evaluations: int


@overload
def generate(model: Sampler, task: Problem, y: Tensor, plan: Plan, separate: bool | None = None) -> Solutions: ...


@overload
def generate(model: Sampler, task: GenerationTask, y: Tensor, plan: Plan) -> Draws: ...


def generate(
    model: Sampler, task: Problem | GenerationTask, y: Tensor, plan: Plan, separate: bool | None = None
) -> Solutions | Draws:
    """Generate ``plan.draws`` solutions for every condition.

    Draws that are still invalid at the end are kept and marked in ``check``. Without a forward operator nothing can be
    checked, and the draws are plain ones.

    Args:
        model: draws solutions.
        task: an inverse problem, which decides validity, or a task without a forward operator.
        y: conditions ``(batch, *y_shape)``.
        plan: how many, and which stages.
        separate: whether exact solutions are separate points; None finds out.

    Raises:
        UserError: for a temperature in the plan of a sampler that has none, and for stages after the draw of a task
            without a forward operator.
    """
    if not isinstance(task, Problem):
        return _plain_draws(model, y, plan)
    if separate is None:
        separate = has_isolated_solutions(task)
    return _Generation(_at_temperature(model, plan, separate), task, plan, separate).run(y)


@torch.no_grad()
def _plain_draws(model: Sampler, y: Tensor, plan: Plan) -> Draws:
    if plan.drawn > plan.draws or plan.refine_steps > 0:
        raise UserError(
            "generation asks to choose or refine draws, but this model's task has no forward operator that could check "
            "them; use generation=default."
        )
    sampler, generator = _at_temperature(model, plan, separate=False), stream(Purpose.GENERATION, plan.seed)
    portions = y.split(max(plan.chunk // plan.draws, 1))
    return Draws(torch.cat([sampler.draw(part, plan.draws, generator) for part in portions]), len(y) * plan.draws)


def _at_temperature(model: Sampler, plan: Plan, separate: bool) -> Sampler:
    """The sampler at the plan's temperature; a wider one than its own where a choice follows."""
    temperature = plan.temperature
    if isinstance(model, Tempered):
        if temperature is None and plan.drawn > plan.draws:
            temperature = WIDE_SEPARATE if separate else WIDE_CONTINUUM
        return model if temperature is None else model.tempered(temperature)
    if temperature is not None:
        raise UserError(f"generation.temperature is {temperature}, but {type(model).__name__} has no temperature.")
    return model


class _Generation:
    """One call of :func:`generate`: its random streams and what its stages left."""

    def __init__(self, model: Sampler, problem: Problem, plan: Plan, separate: bool) -> None:
        self.model, self.problem, self.plan, self.separate = model, problem, plan, separate
        self.generator = stream(Purpose.GENERATION, plan.seed)
        # of its own, so that the draws of a later chunk do not depend on how many draws of an earlier one were refined
        self.targets = stream(Purpose.REFINEMENT, plan.seed)
        self.backfill = Backfill(problem, plan.backfill, plan.refine_steps, plan.seed, exact=separate)
        self.explorer = Explorer(problem, plan.refine_steps, plan.seed, exact=separate)
        self.sums: dict[str, list[float]] = {}
        self.forward_evaluations = 0

    @torch.no_grad()
    def run(self, y: Tensor) -> Solutions:
        """All conditions, chunk by chunk."""
        plan = self.plan
        kept: list[Tensor] = []
        for part in y.split(max(plan.chunk // (plan.drawn + plan.explore), 1)):
            kept.append(self.chunk(part, first=sum(map(len, kept))))
        x = torch.cat(kept)
        draws = {"explore": plan.drawn + plan.explore, "select": plan.draws}
        stages = {
            name: Stage(draws.get(name, plan.drawn), *(value / max(conditions, 1) for value in rest))
            for name, (conditions, *rest) in self.sums.items()
        }
        check = check_in_chunks(self.problem, x, y)
        return Solutions(x, check, stages, len(y) * plan.drawn, self.forward_evaluations)

    def chunk(self, y: Tensor, first: int) -> Tensor:
        """Solutions ``(batch, draws, *x_shape)`` of some conditions, of which the first is number ``first``."""
        plan, problem = self.plan, self.problem
        x = self.model.draw(y, plan.drawn, self.generator)
        check = self.note("draw", x, y, used=x.shape[0] * x.shape[1])
        if plan.refine_steps > 0:
            x, used = refine_draws(problem, x, y, check, plan.refine_steps, self.targets, exact=self.separate)
            check = self.note("refine", x, y, used)
        if plan.backfill > 0:
            x, searched, used = self.backfill(x, y, check, plan.draws, first)
            if searched:
                log.info("%d of %d conditions had too few valid draws and were searched.", searched, len(y))
            check = self.note("backfill", x, y, used)
        if plan.explore > 0:
            further, used = self.explorer(x, y, check, plan.explore)
            x = torch.cat([x, further], dim=1)
            check = self.note("explore", x, y, used)
        if x.shape[1] > plan.draws:
            chosen = (select_separate if self.separate else select_cover)(problem, x, check, plan.draws)
            x = x[torch.arange(len(x), device=x.device).unsqueeze(1), chosen]
            self.note("select", x, y, used=0)
        return x

    def note(self, stage: str, x: Tensor, y: Tensor, used: int) -> Check:
        """Check what a stage left, and add it to its sums."""
        check = check_in_chunks(self.problem, x, y)
        self.forward_evaluations += used
        covered = coverage(self.problem.space.coordinates(x), check.valid).sum()
        row = [
            float(len(x)),
            float(check.valid.float().mean(1).sum()),
            float(covered),
            float(check.misfit.mean(1).sum()),
        ]
        self.sums[stage] = [old + new for old, new in zip(self.sums.get(stage, [0.0] * 4), row, strict=True)]
        return check


def check_in_chunks(problem: Problem, x: Tensor, y: Tensor) -> Check:
    """``problem.check(x, y)``, a few thousand draws at a time."""
    batch, draws = x.shape[:2]
    size = chunk_size(x.device, torch.Size(problem.x_shape).numel())
    if batch * draws <= size:
        return problem.check(x, y)
    found: dict[str, Tensor] = {}
    for some, part in chunks(batch, draws, size):
        piece = problem.check(x[some, part], y[some])._asdict()
        for name, field in piece.items():
            if field is not None:
                whole = found.setdefault(name, field.new_empty(batch, draws, *field.shape[2:]))
                whole[some, part] = field
    return Check(**found)
