"""From conditions to solutions: draw, oversample, check, refine, backfill, explore, select."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, overload

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.generation.backfill import Backfill
from cvae.generation.completeness import Counts, count_solutions, coverage_gain, firsts, unseen_at_most, unseen_share
from cvae.generation.explore import Explorer
from cvae.generation.refine import refine_draws
from cvae.generation.select import select_cover, select_separate, select_unchecked
from cvae.inversion import has_isolated_solutions
from cvae.metrics import Check, coverage
from cvae.models.sampler import Sampler, Tempered
from cvae.sampling import chunk_size, chunks
from cvae.seeds import Purpose, check_seed, stream
from cvae.tasks import GenerationTask, Problem, Task

log = logging.getLogger(__name__)

#: temperatures of candidates of which the best are kept: wide on a continuum, where what misses is refined or left out
WIDE_CONTINUUM = 2.5
WIDE_SEPARATE = 1.5
#: draws made for each one that is kept, at most
MOST_OVERSAMPLED = 1_000
STAGES = ("draw", "oversample", "refine", "backfill", "explore", "rounds", "select")


@dataclass(frozen=True)
class Plan:
    """How solutions are generated.

    Args:
        draws: solutions kept for each condition.
        candidates: solutions drawn for each condition, of which ``draws`` are kept; None draws ``draws``.
        temperature: of the latent; above 1 draws spread wider than the prior, at the price of more invalid ones. None
            takes the model's own for plain draws; a wider one where f chooses, which is free to leave them out.
        refine_steps: Levenberg-Marquardt steps for draws that miss; 0 leaves them.
        backfill: simulations to search, without the network, for conditions that still have fewer than ``draws``
            valid draws; 0 leaves them as they are. Needs ``refine_steps``.
        explore: further draws for each condition, from disturbed and refined copies of the valid ones. Needs
            ``refine_steps``.
        rounds: how often a condition is explored at most, if its solutions are separate: again while the cautious
            estimate of the share of unseen solutions is above ``unseen``. Above 1 it needs ``explore``.
        unseen: see ``rounds``.
        seed: fixes everything.
        chunk: draws held at once, those of one condition at least; bounds the memory. What is worked out on the way
            is worked out for a few thousand draws at a time.
        oversample: draws made for each one that is kept, at most 1,000; those are kept that cover most together,
            without f. Instead of ``candidates``, among which f chooses, and for solutions that form a continuum.

    Raises:
        UserError: for a number that makes no sense.
    """

    draws: int = 30
    candidates: int | None = None
    temperature: float | None = None
    refine_steps: int = 0
    backfill: int = 0
    explore: int = 0
    rounds: int = 1
    unseen: float = 0.0
    seed: int = 0
    chunk: int = 65_536
    oversample: int = 1

    def __post_init__(self) -> None:
        check_seed("generation.seed", self.seed)
        least = dict.fromkeys(("draws", "rounds", "chunk"), 1)
        least |= dict.fromkeys(("refine_steps", "backfill", "explore", "unseen"), 0)
        for name, smallest in least.items():
            if not getattr(self, name) >= smallest:
                raise UserError(f"generation.{name} is {getattr(self, name)}; it must be at least {smallest}.")
        if not 1 <= self.oversample <= MOST_OVERSAMPLED:
            raise UserError(
                f"generation.oversample is {self.oversample}; it must be at least 1 and at most {MOST_OVERSAMPLED}."
            )
        if self.unseen > 1:
            raise UserError(f"generation.unseen is {self.unseen}; it is a share, and must be at most 1.")
        if self.rounds > 1 and self.explore == 0:
            raise UserError(f"generation.rounds is {self.rounds}, which needs generation.explore above 0.")
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
        if self.oversample > 1 and self.drawn > self.draws:
            raise UserError(
                f"generation.oversample is {self.oversample} and generation.candidates {self.candidates}; f chooses "
                "among candidates already: set generation.oversample=1, or generation.candidates=null."
            )

    @property
    def drawn(self) -> int:
        """Candidates for each condition, of which ``draws`` are kept."""
        return self.draws if self.candidates is None else self.candidates

    @property
    def decoded(self) -> int:
        """Draws of the network for each condition."""
        return self.drawn * self.oversample


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
        stages: what each stage left: ``draw`` (plain draws) or ``oversample``, then ``refine``, ``backfill``,
            ``explore``, ``rounds`` (of the conditions that were explored again) and ``select`` if the plan has them.
        evaluations: how often the network decoded a draw.
        forward_evaluations: how often f was evaluated on one solution.
        completeness: for each condition ``(batch,)``. On a continuum ``gain``, the share of the coverage that the last
            half of the candidates brought. Where solutions are separate and candidates are refined ``found``, how many
            solutions the candidates hold, and ``unseen`` and ``unseen_at_most``, an estimate and a cautious one of the
            share of all that they do not hold. Empty where separate solutions are not refined, since then copies
            cannot be told from solutions.
    """

    x: Tensor
    check: Check
    stages: Mapping[str, Stage]
    evaluations: int
    forward_evaluations: int
    completeness: Mapping[str, Tensor] = {}


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
        UserError: for a temperature in the plan of a sampler that has none, for oversampled draws where solutions are
            separate, and for stages after the draw of a task without a forward operator.
    """
    check_plan(plan, task, separate)
    if not isinstance(task, Problem):
        return _plain_draws(model, y, plan)
    if separate is None:
        separate = has_isolated_solutions(task)
    return _Generation(_at_temperature(model, plan, separate), task, plan, separate).run(y)


def check_plan(plan: Plan, task: Task, separate: bool | None = None) -> None:
    """Refuse stages that a task does not allow; arguments as for :func:`generate`.

    Raises:
        UserError: for stages after the draw of a task without a forward operator, and for separate solutions that are
            oversampled.
    """
    if not isinstance(task, Problem):
        asked = {
            "candidates=null": plan.drawn > plan.draws,
            "oversample=1": plan.oversample > 1,
            "refine_steps=0": plan.refine_steps > 0,
        }
        remedies = ", ".join(f"generation.{plain}" for plain, is_asked in asked.items() if is_asked)
        if remedies:
            raise UserError(
                "generation asks to choose or refine draws, but this task has no forward operator f, and only "
                f"solutions of f(x) = y are: use generation=default, or set {remedies}."
            )
    elif plan.oversample > 1 and (has_isolated_solutions(task) if separate is None else separate):
        raise UserError(
            f"generation.oversample is {plan.oversample}, but the solutions of one y are separate points, of which "
            "coverage does not say which to keep; set it to 1, and let f choose among more draws with "
            "generation.candidates."
        )


@torch.no_grad()
def _plain_draws(model: Sampler, y: Tensor, plan: Plan) -> Draws:
    sampler, generator = _at_temperature(model, plan, separate=False), stream(Purpose.GENERATION, plan.seed)
    portions = y.split(max(plan.chunk // plan.draws, 1))
    return Draws(torch.cat([sampler.draw(part, plan.draws, generator) for part in portions]), len(y) * plan.draws)


def _at_temperature(model: Sampler, plan: Plan, separate: bool) -> Sampler:
    """The sampler at the plan's temperature; a wider one than its own where f chooses."""
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
        told: list[dict[str, Tensor]] = []
        for part in y.split(max(plan.chunk // (plan.decoded + plan.explore), 1)):
            x, completeness = self.chunk(part, first=sum(map(len, kept)))
            kept.append(x)
            told.append(completeness)
        x = torch.cat(kept)
        stages = {name: self.stage(name) for name in STAGES if name in self.sums}
        check = check_in_chunks(self.problem, x, y)
        completeness = {name: torch.cat([part[name] for part in told]) for name in told[0]}
        return Solutions(x, check, stages, len(y) * plan.decoded, self.forward_evaluations, completeness)

    def chunk(self, y: Tensor, first: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Solutions ``(batch, draws, *x_shape)`` of some conditions, of which the first is number ``first``, and how
        complete they are."""
        plan, problem = self.plan, self.problem
        x = self.model.draw(y, plan.decoded, self.generator)
        if plan.oversample > 1:
            x = select_unchecked(problem, x, plan.draws)
        starts = problem.space.encode(x)
        # how many of the others are valid would cost evaluations of f
        check = self.note("draw" if plan.oversample == 1 else "oversample", x, y, used=x.shape[0] * x.shape[1])
        if plan.refine_steps > 0:
            x, used = refine_draws(problem, x, y, check, plan.refine_steps, self.targets, exact=self.separate)
            check = self.note("refine", x, y, used)
        own = torch.ones_like(check.valid)
        if plan.backfill > 0:
            before = x
            x, searched, used = self.backfill(x, y, check, plan.draws, first)
            own = (x == before).flatten(2).all(-1)
            if searched:
                log.info("%d of %d conditions had too few valid draws and were searched.", searched, len(y))
            check = self.note("backfill", x, y, used)
        if plan.explore > 0:
            further = self.explorer(x, y, check, plan.explore)
            x = torch.cat([x, further.x], dim=1)
            check = self.note("explore", x, y, further.evaluations)
        if self.separate:
            # copies of a draw tell once which solution it leads to; what simulations have found is no draw
            tells = (own & torch.stack([firsts(one) for one in starts])).unsqueeze(-1).expand(-1, -1, 2)
            if plan.explore > 0:
                tells = torch.cat([tells, further.tells], dim=1)
            return self.separated(x, y, check, tells, first)
        chosen = torch.arange(plan.draws, device=x.device).expand(len(x), -1)
        if x.shape[1] > plan.draws:
            chosen = select_cover(problem, x, check, plan.draws)
        gain = coverage_gain(problem.space.coordinates(x), check.valid, chosen)
        if x.shape[1] > plan.draws:
            x = x[torch.arange(len(x), device=x.device).unsqueeze(1), chosen]
            self.note("select", x, y, used=0)
        return x, {"gain": gain}

    def separated(
        self, x: Tensor, y: Tensor, check: Check, tells: Tensor, first: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of candidates for separate solutions those that are kept, and how complete they are."""
        plan, problem = self.plan, self.problem
        kept, counts = [], []
        for index in range(len(x)):
            one = slice(index, index + 1)
            more, verdict, count = self.rounds(x[one], y[one], check.at(one), tells[one], first + index)
            chosen = torch.arange(plan.draws, device=x.device)
            if more.shape[1] > plan.draws:
                chosen = select_separate(problem, more, verdict, plan.draws)[0]
            kept.append(more[0, chosen])
            counts.append(count)
        selected = torch.stack(kept)
        if x.shape[1] > plan.draws:
            self.note("select", selected, y, used=0)
        if plan.refine_steps == 0:
            return selected, {}
        return selected, {
            "found": torch.tensor([len(count.drawn) for count in counts], device=x.device),
            "unseen": torch.stack([unseen_share(count) for count in counts]),
            "unseen_at_most": torch.stack([unseen_at_most(count) for count in counts]),
        }

    def rounds(self, x: Tensor, y: Tensor, check: Check, tells: Tensor, number: int) -> tuple[Tensor, Check, Counts]:
        """Candidates for one condition, ``(1, candidates, *x_shape)``, their check, and how often each solution was
        found, after exploring again while the estimate asks for it.

        ``number`` is that of the condition among all, so that results do not depend on the chunks.
        """
        plan, problem = self.plan, self.problem
        turn, used = 1, 0
        counts = count_solutions(problem, x[0], check.at(0), tells[0], plan.drawn)
        while turn < plan.rounds and unseen_at_most(counts) > plan.unseen:
            explorer = Explorer(problem, plan.refine_steps, plan.seed, True, number, turn)
            further = explorer(x, y, check, plan.explore)
            x, tells = torch.cat([x, further.x], dim=1), torch.cat([tells, further.tells], dim=1)
            check = check_in_chunks(problem, x, y)
            counts = count_solutions(problem, x[0], check.at(0), tells[0], plan.drawn)
            turn, used = turn + 1, used + further.evaluations
        if turn > 1:
            self.note("rounds", x, y, used)
        return x, check, counts

    def stage(self, name: str) -> Stage:
        """What a stage left, on average over its conditions."""
        conditions, *rest = self.sums[name]
        draws, *means = (value / max(conditions, 1) for value in rest)
        return Stage(round(draws), *means)

    def note(self, stage: str, x: Tensor, y: Tensor, used: int) -> Check:
        """Check what a stage left, and add it to its sums."""
        check = check_in_chunks(self.problem, x, y)
        self.forward_evaluations += used
        covered = coverage(self.problem.space.coordinates(x), check.valid).sum()
        row = [
            float(len(x)),
            float(len(x) * x.shape[1]),
            float(check.valid.float().mean(1).sum()),
            float(covered),
            float(check.misfit.mean(1).sum()),
        ]
        self.sums[stage] = [old + new for old, new in zip(self.sums.get(stage, [0.0] * 5), row, strict=True)]
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
