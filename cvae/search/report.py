"""What a search leaves: a table, a file of all trials, the best one as an experiment, pictures."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from cvae.files import replacing
from cvae.search.alive import DEFAULT, ERROR, LOST
from cvae.search.definition import Definition
from cvae.search.figures import FIGURES
from cvae.search.overrides import experiment, spelled
from cvae.search.space import readable
from cvae.search.study import best, counted, feasible, ranked
from cvae.search.trial import MEASURES, OVERRIDES, SECONDS

#: trials in the table
SHOWN = 5


def report(study: optuna.Study, definition: Definition, folder: Path, seed: int) -> None:
    """Write ``trials.csv``, the pictures, ``best.yaml`` and ``best.txt`` to ``folder``, and print the best trials."""
    trials = study.get_trials(deepcopy=False)
    write_trials(trials, folder / "trials.csv")
    files, notes = ["trials.csv"], []
    for name, draw in FIGURES.items():
        try:
            figure = draw(study, definition)
        except ValueError as reason:
            notes.append(f"no {name}.png: {reason}")
            continue
        with replacing(folder / f"{name}.png") as path:
            figure.savefig(path, dpi=120)
        files.append(f"{name}.png")
    console = Console(soft_wrap=True, highlight=False)
    if ranked(study):
        console.print(_table(study, definition))
    console.print(f"{_counts(trials)}; in {folder}: {', '.join(files)}")
    for note in notes:
        console.print(note)
    first = best(study)
    if first is None:
        console.print(f"no trial is finished that keeps {' and '.join(map(str, definition.constraints))}, so that "
                      "there is no best.yaml: search longer, or loosen search.constraints.")  # fmt: skip
        return
    overrides = first.user_attrs[OVERRIDES]
    comment = (
        f"{definition.metric} {first.value!r} in trial {first.number} of study {study.study_name}, "
        f"search seed {seed}, {_day(first)}\n"
        f"the best of {counted(study)} trials subject to "
        f"{', '.join(map(str, definition.constraints)) or 'nothing'}; of the epoch with the best {definition.keep}"
    )
    with replacing(folder / "best.yaml") as path:
        path.write_text(experiment(overrides, comment))
    with replacing(folder / "best.txt") as path:
        path.write_text(" ".join(_quoted(word) for word in overrides) + "\n")
    console.print(_against_default(first, trials))
    console.print(f"best: python train.py {' '.join(_quoted(word) for word in overrides)}")
    console.print(f"to keep: cp {folder}/best.yaml conf/experiment/NAME.yaml; python train.py experiment=NAME")


def write_trials(trials: Sequence[FrozenTrial], path: Path) -> None:
    """One row for each trial: how it ended, what it measured, its values and its error."""
    params = list(dict.fromkeys(name for trial in trials for name in trial.params))
    measures = sorted({name for trial in trials for name in trial.user_attrs.get(MEASURES, {})})
    head = ["number", "state", "feasible", "value", "default", "seconds", "epochs", *measures]
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*head, *(f"set:{name}" for name in params), "error"])
        for trial in trials:
            complete = trial.state == TrialState.COMPLETE
            attributes: Mapping[str, Any] = trial.user_attrs
            rows.writerow([
                trial.number, trial.state.name.lower(), feasible(trial) if complete else "", trial.value,
                bool(attributes.get(DEFAULT)), attributes.get(SECONDS), trial.last_step,
                *(attributes.get(MEASURES, {}).get(name) for name in measures),
                *(readable(trial.params[name]) if name in trial.params else None for name in params),
                attributes.get(ERROR),
            ])  # fmt: skip


def _table(study: optuna.Study, definition: Definition) -> Table:
    """One column for each of the best trials, and the one with the present settings last."""
    order = ranked(study)
    shown = order[:SHOWN]
    shown += [trial for trial in order[SHOWN:] if trial.user_attrs.get(DEFAULT)]
    heads = [f"{trial.number}, default" if trial.user_attrs.get(DEFAULT) else str(trial.number) for trial in shown]
    table = Table("trial", *heads, title=f"{study.study_name}: best trials")
    table.add_row("constraints", *("kept" if feasible(trial) else "missed" for trial in shown))
    bounded = [one.measure for one in definition.constraints]
    for name in dict.fromkeys([definition.metric, definition.keep, *bounded]):
        found = [trial.user_attrs.get(MEASURES, {}).get(name) for trial in shown]
        table.add_row(name, *("" if value is None else f"{value:.4g}" for value in found))
    table.add_section()
    for entry in definition.space.entries:
        values = [spelled(readable(trial.params[entry.name])) if entry.name in trial.params else "" for trial in shown]
        table.add_row(entry.name, *values)
    return table


def _counts(trials: Sequence[FrozenTrial]) -> str:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    kept = sum(feasible(trial) for trial in complete)
    lost = sum(bool(trial.user_attrs.get(LOST)) for trial in trials)
    told = [f"{len(complete)} complete ({kept} keep the constraints)"]
    for state in (TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING):
        count = sum(trial.state == state and not trial.user_attrs.get(LOST) for trial in trials)
        if count:
            told.append(f"{count} {state.name.lower().replace('fail', 'failed')}")
    return ", ".join([*told, *([f"{lost} broken off and tried again"] if lost else [])])


def _against_default(first: FrozenTrial, trials: Sequence[FrozenTrial]) -> str:
    default = [trial for trial in trials if trial.user_attrs.get(DEFAULT) and trial.state == TrialState.COMPLETE]
    if not default:
        return f"the best trial reaches {first.value:.4g}; the one with the present settings is not complete."
    kept = "" if feasible(default[0]) else ", which misses a constraint"
    return f"the best trial reaches {first.value:.4g}, the present settings {default[0].value:.4g}{kept}."


def _day(trial: FrozenTrial) -> str:
    when = trial.datetime_complete
    return when.strftime("%Y-%m-%d") if when else time.strftime("%Y-%m-%d")


def _quoted(word: str) -> str:
    return word if all(letter.isalnum() or letter in "=._/+-" for letter in word) else f"'{word}'"
