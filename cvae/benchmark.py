"""Tables of results: ways to find solutions, held against the same reference sets."""

from __future__ import annotations

import copy
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cvae import CVAE, recipe
from cvae.data import Batch, simulate
from cvae.evaluation import Drawn
from cvae.generation import Model, Plan, Solutions, generate
from cvae.metrics import AgainstReferences, line_metrics
from cvae.problems import Problem
from cvae.problems.reference import ReferenceSet
from cvae.runs.folder import RESULT
from cvae.runs.launch import run
from cvae.seeds import stream


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: of the method or setting.
        stage: the plan, such as ``30 plain``.
        valid, rmse, pearson, coverage, envelope, score: see :func:`cvae.metrics.line_metrics`.
        coverage_limit: mean over the conditions; None where solutions are separate.
        coverage_ratio: None where solutions are separate.
        mode_recall: mean over conditions with at most ``count`` solutions; None where solutions form a continuum.
        complete: share of those conditions of which every solution was found.
        train_s, generate_s: wall-clock seconds.
        evaluations: draws decoded for one condition.
        forward_evaluations: evaluations of f for one condition.
        training_evaluations: evaluations of f beforehand, once for all conditions; None where it was not counted.
    """

    name: str
    stage: str
    valid: float
    rmse: float
    pearson: float
    coverage: float
    envelope: float
    score: float
    coverage_limit: float | None
    coverage_ratio: float | None
    mode_recall: float | None
    complete: float | None
    train_s: float
    generate_s: float
    evaluations: int
    forward_evaluations: int
    training_evaluations: int | None = None


def assess(
    name: str,
    model: Model,
    problem: Problem,
    y: Tensor,
    references: Sequence[ReferenceSet],
    plans: Mapping[str, Plan],
    train_s: float = 0.0,
    training_evaluations: int | None = None,
) -> list[Row]:
    """Generate by every plan and measure.

    Args:
        name: of the method.
        model: draws solutions.
        problem: decides validity.
        y: conditions ``(count, conditions, points)``, as many as ``references``.
        references: reference sets of the conditions.
        plans: by name.
        train_s: seconds that the training took, for the table.
        training_evaluations: evaluations of f that it took, for the table.
    """
    rows = []
    separate = all(reference.finite for reference in references)
    for stage, plan in plans.items():
        started = time.perf_counter()
        solutions = generate(model, problem, y, plan, separate)
        seconds = time.perf_counter() - started
        row = _row(name, stage, problem, solutions, references, plan, train_s, seconds)
        rows.append(replace(row, training_evaluations=training_evaluations))
    return rows


def _row(
    name: str,
    stage: str,
    problem: Problem,
    solutions: Solutions,
    references: Sequence[ReferenceSet],
    plan: Plan,
    train_s: float,
    seconds: float,
) -> Row:
    metrics = line_metrics(problem)
    metrics.update(solutions.x, solutions.check)
    measures = {key: float(value) for key, value in metrics.compute().items()}
    limit = ratio = recall = complete = None
    if all(reference.finite for reference in references):
        found = []
        for index, reference in enumerate(references):
            # more solutions than draws cannot all be found
            if 0 < len(reference.endpoints) <= plan.count:
                one = AgainstReferences(problem, [reference], plan.count)
                one.update(_only(solutions, index))
                found.append(float(one.compute(None)["mode_recall"]))
        recall = sum(found) / len(found) if found else None
        complete = sum(value == 1 for value in found) / len(found) if found else None
    else:
        against = AgainstReferences(problem, references, plan.count)
        for index in range(len(references)):
            drawn = _only(solutions, index)
            against.update(drawn._replace(which=drawn.which + index))
        limit, ratio = float(against.limit.mean()), float(against.compute(None)["coverage_ratio"])
    count = len(solutions.x)
    return Row(
        name=name,
        stage=stage,
        valid=measures["valid"],
        rmse=measures["rmse"],
        pearson=measures["pearson"],
        coverage=measures["coverage"],
        envelope=measures["envelope"],
        score=measures["score"],
        coverage_limit=limit,
        coverage_ratio=ratio,
        mode_recall=recall,
        complete=complete,
        train_s=train_s,
        generate_s=seconds,
        evaluations=solutions.evaluations // count,
        forward_evaluations=solutions.forward_evaluations // count,
    )


def _only(solutions: Solutions, index: int) -> Drawn:
    part = slice(index, index + 1)
    which = solutions.check.valid.new_zeros(1).long()
    return Drawn(which, solutions.x[part], solutions.check.at(part))


def trained(cfg: DictConfig, run_dir: Path) -> tuple[CVAE, float]:
    """The model of a run, and the seconds that its training took; trains unless the folder holds the same run.

    Args:
        cfg: composed training config.
        run_dir: the run's folder.
    """
    run(cfg, run_dir, replace=True)
    result = json.loads((run_dir / RESULT).read_text())
    return CVAE.load(run_dir / result["checkpoint"]), float(result["fit_s"])


def training_evaluations(cfg: DictConfig) -> int:
    """How often the training of ``cfg`` evaluates f: to simulate, and for the y-term while that is on.

    The y-term takes one evaluation for each triple, or for each component that is enumerated.
    """
    settled = copy.deepcopy(cfg)
    recipe.apply(settled)
    recipe.choose_model(settled)
    simulated = int(settled.data.source.train)
    epochs = int(settled.trainer.max_epochs)
    simulations = simulated * epochs if settled.data.fresh else simulated
    if settled.loss.wy == 0:
        return simulations
    samples = int(settled.model.get("enumerated", 1))
    return simulations + round(simulated * epochs * samples * (1 - settled.loss.y_from))


def footer(conditions: int) -> str:
    """What a table was measured on."""
    threads = torch.get_num_threads()
    return f"{conditions} unseen conditions, {platform.machine()}, {threads} thread(s), {time.strftime('%Y-%m-%d')}"


def held_out(problem: Problem, count: int, seed: int) -> Batch:
    """``count`` conditions that no training has seen, with the solution each was made of."""
    return simulate(problem, count, stream(seed, 99))


def print_table(rows: Sequence[Any], title: str) -> None:
    """Print rows, dataclasses of one kind, as a table; columns that are empty throughout are left out."""
    shown = _columns(rows)
    table = Table(*shown, title=title)
    for row in rows:
        table.add_row(*(_cell(getattr(row, name)) for name in shown))
    Console(width=240).print(table)


def markdown(rows: Sequence[Any]) -> str:
    """The same table for a document."""
    shown = _columns(rows)
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    lines += ["| " + " | ".join(_cell(getattr(row, name)) for name in shown) + " |" for row in rows]
    return "\n".join(lines)


def _columns(rows: Sequence[Any]) -> list[str]:
    names = [field.name for field in fields(rows[0])]
    return [name for name in names if any(getattr(row, name) is not None for row in rows)]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
