"""Generate solutions: ``cvae generate checkpoint=best.ckpt condition=y.csv draws=30 out=x.npz``.

Digits: ``cvae generate checkpoint=best.ckpt number=2026 out=2026.png``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from omegaconf import DictConfig

from cvae.config import plain
from cvae.data import simulate
from cvae.data.files import read_conditions, write_draws, write_solutions, writer
from cvae.errors import UserError, clear_errors
from cvae.files import check_output
from cvae.generation import generate
from cvae.models import Generative
from cvae.runs.options import check_command
from cvae.runs.settle import plan_of
from cvae.seeds import Purpose, check_seed, stream
from cvae.show.figures import SUFFIXES, check_picture, draw_figures, write_figure
from cvae.show.tables import print_solutions, print_stages
from cvae.tasks import Digits, GenerationTask, Problem
from cvae.tasks.digits import digits_of

# conditions that are drawn
PICTURED = 4


class Options(TypedDict):
    """Types of the options."""

    checkpoint: str
    condition: float | str | list[float] | None
    number: int | str | None
    unseen: int
    out: str
    picture: str | None
    draws: int
    seed: int
    gates: dict[str, float | None]
    allow: list[str]


def run(cfg: DictConfig) -> None:
    """Generate for every condition that is named, write and print."""
    with clear_errors():
        check_command(cfg, Options)
        check_seed("seed", cfg.seed)
        if cfg.unseen < 0:
            raise UserError(f"unseen is {cfg.unseen}; it must be at least 0, a number of simulated conditions.")
        # what cannot be written is told before the work
        if Path(cfg.out).suffix not in SUFFIXES:
            writer(cfg.out)
        check_output("out", cfg.out)
        if cfg.picture is not None:
            check_picture(cfg.picture)
            check_output("picture", cfg.picture)
        model = Generative.load(str(cfg.checkpoint), cfg.allow)
        if isinstance(model.task, Problem):
            invert(cfg, model, model.task)
        else:
            draw(cfg, model, cast(GenerationTask, model.task))


def invert(cfg: DictConfig, model: Generative, problem: Problem) -> None:
    """Solutions of an inverse problem for the conditions of a file, checked."""
    if cfg.number is not None:
        raise UserError(f"number is {cfg.number}; it is for models of digits.")
    if (cfg.condition is None) == (cfg.unseen < 1):
        raise UserError("name the observed conditions, condition=FILE, or ask for simulated ones, unseen=4.")
    writer(cfg.out)
    plan = plan_of(cfg.get("generation"))
    try:
        problem = problem.judged_by(_given_gates(cfg))
    except UserError as error:
        # named as in the config of the training
        raise UserError(str(error).removeprefix("data.")) from None
    if cfg.condition is None:
        y = simulate(problem, cfg.unseen, stream(Purpose.UNSEEN, cfg.seed)).y
    else:
        y = read_conditions(str(cfg.condition), problem)
    solutions = generate(model, problem, y, plan)
    write_solutions(str(cfg.out), problem, solutions.x, y, solutions.check, solutions.completeness)
    print_stages(solutions)
    print_solutions(solutions.check, problem.gates.rmse, solutions.completeness)
    print(f"solutions: {cfg.out}")
    if cfg.picture is not None:
        figures = draw_figures(problem, solutions.x, y, PICTURED)
        print(f"picture: {', '.join(map(str, write_figure(cfg.picture, figures)))}")


def draw(cfg: DictConfig, model: Generative, task: GenerationTask) -> None:
    """Draws of a task without a forward operator, for conditions that numbers name; ``out`` may be a picture."""
    if cfg.unseen > 0:
        raise UserError(f"unseen is {cfg.unseen}, but this model has no forward operator to simulate with.")
    if _given_gates(cfg):
        raise UserError("gates needs a forward operator, by which draws are checked; this model has none.")
    if cfg.number is not None and (cfg.condition is not None or not isinstance(task, Digits)):
        raise UserError(f"number is {cfg.number}; it is for models of digits, and in place of condition.")
    y = task.conditions(_numbers(plain(cfg.condition)) if cfg.number is None else digits_of(cfg.number))
    found = generate(model, task, y, plan_of(cfg.get("generation")))
    pictures = [path for path in (cfg.out, cfg.picture) if path is not None and Path(path).suffix in SUFFIXES]
    if Path(cfg.out).suffix not in SUFFIXES:
        write_draws(cfg.out, found.x, y)
        print(f"draws: {cfg.out}")
    for path in pictures:
        figures = draw_figures(task, found.x, y, len(y))
        print(f"picture: {', '.join(map(str, write_figure(path, figures)))}")


def _given_gates(cfg: DictConfig) -> dict[str, float]:
    """The gates that the command line names."""
    return {name: value for name, value in plain(cfg.gates).items() if value is not None}


def _numbers(condition: Any) -> Sequence[float]:
    """The numbers of ``condition=0.5``, ``condition=[0.1,0.5]`` or no condition.

    Raises:
        UserError: for anything else.
    """
    values = [] if condition is None else condition if isinstance(condition, list) else [condition]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise UserError(f"condition is {condition!r}; give a number or several, condition=[0.1,0.5].")
    return values
