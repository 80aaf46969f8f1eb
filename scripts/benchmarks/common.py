"""What the benchmarks share: unseen conditions, trainings that are kept, measures by row, and tables."""

from __future__ import annotations

import json
import logging
import math
import operator
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torchmetrics import MetricCollection

import cvae.runs.names  # noqa: F401 - registers the resolvers that the configs use
from cvae.data import Batch, simulate
from cvae.errors import UserError, clear_errors
from cvae.generation import Plan, generate
from cvae.inversion import ReferenceSet, cached_reference_sets, reference_measures
from cvae.losses import SetObjective
from cvae.losses.schedules import geometric
from cvae.metrics import CoverageRatio, Drawn, mode_hits
from cvae.models import Generative, Sampler
from cvae.runs.folder import RESULT
from cvae.runs.launch import run
from cvae.runs.options import check_entries
from cvae.runs.settle import settle, task_of
from cvae.seeds import Purpose, stream
from cvae.show.tables import cell, print_table
from cvae.tasks import Problem

#: one line of a table: cells by the name of their column
Row = dict[str, Any]

MEASURES = ("valid", "rmse", "pearson", "coverage", "envelope", "score")
AGAINST_REFERENCES = (
    "coverage_limit",
    "coverage_ratio",
    "reference_distance",
    "mode_recall",
    "mode_recall_pooled",
    "complete",
)


@contextmanager
def command_line() -> Iterator[None]:
    """Mistakes of the user are shown as one message, and tips of Lightning are not shown."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with clear_errors():
        yield


def call(function: Callable[..., Any], settings: Mapping[str, Any], where: str = "") -> Any:
    """Call ``function`` with the entries of a config, whose types its signature gives.

    Raises:
        UserError: for an entry that is unknown, missing or of another type; ``where`` stands before its name.
    """
    check_entries(settings, function, where)
    return function(**settings)


def problem_of(data: Mapping[str, Any]) -> Problem:
    """The inverse problem of a config group ``data``.

    Raises:
        UserError: for a task without a forward operator.
    """
    task = task_of(data)
    if not isinstance(task, Problem):
        raise UserError(f"{data['_target_']} has no forward operator, so nothing can be checked; choose other data.")
    return task


def unseen(problem: Problem, count: int, seed: int) -> Batch:
    """``count`` conditions that no training has seen, with the solution each was made of.

    Raises:
        UserError: for a ``count`` below 1.
    """
    if count < 1:
        raise UserError(f"conditions is {count}; it must be at least 1.")
    return simulate(problem, count, stream(Purpose.UNSEEN, seed))


def references_of(problem: Problem, batch: Batch, cache: str | None) -> list[ReferenceSet]:
    """Reference sets of conditions, from the folder ``cache`` if they are there."""
    return cached_reference_sets(problem, batch.y, cache, known=problem.space.encode(batch.x))


def trained(cfg: DictConfig, run_dir: Path) -> tuple[Generative, float]:
    """The model of a run, and the seconds that its training took; trains unless the folder holds the same run."""
    print(f"{run_dir}: training, unless it holds this run already", file=sys.stderr, flush=True)
    run(cfg, run_dir, replace=True)
    result = json.loads((run_dir / RESULT).read_text())
    return Generative.load(run_dir / result["checkpoint"]), float(result["fit_s"])


def training_evaluations(cfg: DictConfig) -> int:
    """How often the training of ``cfg`` evaluates f, nearly: to simulate, for draws that are trained together, and for
    the y-term while that is on, once for each pair or for each component that is enumerated."""
    settled = settle(cfg)
    pairs, epochs, loss = int(settled.data.source.train), int(settled.trainer.max_epochs), settled.loss
    count = pairs * epochs if settled.data.fresh else pairs
    # share of training in which sets are trained, steps of it, and pairs of such a step
    sets = instantiate(loss.set_objective) or SetObjective(weight=0.0)
    alone = sets.start if sets.weight > 0 else 1.0
    steps = (1 - alone) * epochs * math.ceil(pairs / settled.data.batch_size)
    draws = [round(geometric((share + 0.5) / 1000, *sets.draws)) for share in range(1000)]
    conditions = [min(max(sets.size // one, 1), settled.data.batch_size) for one in draws]
    count += steps * fmean(map(operator.mul, conditions, draws))
    if loss.wy > 0:
        begin, samples = loss.y_term.start, int(settled.model.get("enumerated", 1))
        count += samples * pairs * epochs * max(alone - begin, 0)
        if alone < 1:
            count += samples * steps * fmean(conditions) * (1 - max(begin, alone)) / (1 - alone)
    return round(count)


def plans_of(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Plan]:
    """Plans of generation by name, from a config.

    Raises:
        UserError: for an entry that a plan does not have, or a value that makes no sense.
    """
    return {name: call(Plan, values, f"table.plans.{name}") for name, values in config.items()}


def assess(
    name: str,
    model: Sampler,
    problem: Problem,
    y: torch.Tensor,
    references: Sequence[ReferenceSet],
    plans: Mapping[str, Plan],
    **known: float,
) -> list[Row]:
    """Generate by every plan and measure.

    Args:
        name: of the method or setting.
        model: draws solutions.
        problem: decides validity.
        y: conditions ``(count, *y_shape)``, as many as ``references``.
        references: reference sets of the conditions.
        plans: by name.
        known: further cells of every row, such as the seconds of the training.

    Returns:
        One row for each plan, but for those that oversample separate solutions: the measures (``coverage_limit``,
        ``coverage_ratio`` and ``reference_distance`` on a continuum; ``mode_recall``, ``mode_recall_pooled``
        and ``complete`` where solutions are separate), seconds of the generation, and evaluations of the network and of
        f for one condition.
    """
    separate = all(reference.finite for reference in references)
    plans = {name: plan for name, plan in plans.items() if plan.oversample == 1 or not separate}
    if not plans:
        raise UserError("all plans oversample, but the solutions of one y are separate points; name others in plans.")
    # a limit takes long, and is the same for all plans of as many draws
    against = {
        draws: reference_measures(problem, references, draws) for draws in {plan.draws for plan in plans.values()}
    }
    rows = []
    for plan_name, plan in plans.items():
        started = time.perf_counter()
        solutions = generate(model, problem, y, plan, separate)
        costs = {
            "generate_s": time.perf_counter() - started,
            "evaluations": solutions.evaluations // len(y),
            "forward_evaluations": solutions.forward_evaluations // len(y),
        }
        drawn = Drawn(torch.arange(len(y)), solutions.x, y, solutions.check)
        measures = _measured(problem, drawn, references, against[plan.draws])
        shown = {key: measures.get(key) for key in (*MEASURES, *AGAINST_REFERENCES)}
        rows.append({"name": name, "plan": plan_name, **shown, **known, **costs})
    return rows


def _measured(
    problem: Problem, drawn: Drawn, references: Sequence[ReferenceSet], against: MetricCollection
) -> dict[str, float]:
    found: dict[str, float] = {}
    against.reset()
    for measures in (problem.measures(), against):
        measures.update(drawn)
        found |= {name: float(value) for name, value in measures.compute().items()}
    if "coverage_ratio" in found:
        return found | {"coverage_limit": mean_limit(against)}
    share = complete(problem, drawn, references)
    return found if share is None else found | {"complete": share}


def mean_limit(against: MetricCollection) -> float:
    """Mean over the conditions of what the coverage can reach."""
    return float(cast(CoverageRatio, against["coverage_ratio"]).limits.mean())


def complete(problem: Problem, drawn: Drawn, references: Sequence[ReferenceSet]) -> float | None:
    """Share of the conditions of which every separate solution was found, among those that have no more solutions than
    draws; None if there are none."""
    assert drawn.check is not None
    theta = problem.space.scaled(problem.space.encode(drawn.x))
    sets = [problem.space.scaled(reference.theta) for reference in references]
    found = [
        mode_hits(one, valid, reference) == len(reference)
        for one, valid, reference in zip(theta, drawn.check.valid, sets, strict=True)
        if 0 < len(reference) <= theta.shape[1]
    ]
    return sum(found) / len(found) if found else None


def footer(count: int, what: str = "unseen conditions") -> str:
    """What a table was measured on."""
    threads = torch.get_num_threads()
    return f"{count} {what}, {platform.machine()}, {threads} thread(s), {time.strftime('%Y-%m-%d')}"


def table_of(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Columns and cells of rows; a column that is empty throughout is left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [name for name in names if any(row.get(name) is not None for row in rows)]
    return columns, [[cell(row.get(name)) for name in columns] for row in rows]


def show(rows: Sequence[Row], title: str | None = None) -> None:
    """Print rows as a table."""
    print_table(*table_of(rows), title)


def markdown(rows: Sequence[Row]) -> str:
    """The same table for a document."""
    columns, cells = table_of(rows)
    rule = ["---"] * len(columns)
    return "\n".join("| " + " | ".join(line) + " |" for line in (columns, rule, *cells))
