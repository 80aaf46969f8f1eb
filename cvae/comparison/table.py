"""Runs as the sorted rows of a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cvae.comparison.records import Run, Value
from cvae.files import replacing
from cvae.runs.folder import FAILED, FINISHED

#: shown beside the optimised measure where runs have them
MEASURES = ("val/score", "val/valid", "val/coverage_ratio", "val/mode_recall", "test/score", "test/rmse")
#: what a run without an override shows where the config does not tell the value
DEFAULT = "(default)"
#: settings shown where runs have no overrides that tell them apart
MOST_SETTINGS = 6


@dataclass(frozen=True)
class Comparison:
    """Runs in the order of a table.

    Attributes:
        runs: sorted, best first; those without the measure last.
        settings: names of the settings that differ.
        measures: names of the measures that are shown, the one that is sorted by first.
        higher_is_better: which way that measure is better.
    """

    runs: list[Run]
    settings: list[str]
    measures: list[str]
    higher_is_better: bool = True

    def setting(self, run: Run, name: str) -> Value:
        """The value of a setting in a run."""
        return run.overrides.get(name, run.settings.get(name, DEFAULT))


def tabulate(runs: Sequence[Run], metrics: Sequence[str] | None = None, sort: str | None = None) -> Comparison:
    """Sort runs, and find what differs between them.

    Args:
        runs: as :func:`cvae.comparison.read_runs` gives them.
        metrics: names of the measures to show; None shows the optimised one and the usual others.
        sort: the measure to sort by; None takes the optimised one. It is better the way in which the runs optimise it,
            otherwise errors and losses are better when low.

    Raises:
        ValueError: for a measure that no run has.
    """
    known = sorted({name for run in runs for name in run.measures})
    for option, name in [("sort", sort), *(("metrics", metric) for metric in metrics or ())]:
        if name is not None and name not in known:
            listed = ", ".join(known) or "none, since no run has finished"
            raise ValueError(f"{option} names {name!r}, which no run has measured; there are {listed}.")
    optimized = next((run for run in runs if run.optimized_metric in known), None)
    first = sort or (optimized.optimized_metric if optimized else None)
    shown = list(metrics) if metrics else [name for name in MEASURES if name in known]
    measures = list(dict.fromkeys([*([first] if first else []), *shown]))
    higher = is_higher_better(first, runs)

    def rank(run: Run) -> tuple[bool, float]:
        value = run.measures.get(first or "", math.nan)
        return math.isnan(value), 0.0 if math.isnan(value) else (-value if higher else value)

    return Comparison(sorted(runs, key=rank), differing(runs), measures, higher)


def is_higher_better(measure: str | None, runs: Sequence[Run]) -> bool:
    """Which way a measure is better."""
    for run in runs:
        if run.optimized_metric == measure:
            return run.higher_is_better
    return str(measure).split("/")[-1] not in ("loss", "x_term", "y_term", "kl", "rmse")


def differing(runs: Sequence[Run]) -> list[str]:
    """Names of the settings that differ: those that the user changed, or, where nobody did, those of the config.

    ``model=deep`` changes a dozen entries of the config, so that the overrides tell more.
    """
    overridden = _varying([dict(run.overrides) for run in runs], [dict(run.settings) for run in runs])
    if overridden or any(run.overrides for run in runs):
        # seeds tell runs apart, but are not what is compared
        return sorted(overridden, key=lambda name: (name == "seed", name))
    return _varying([dict(run.settings) for run in runs if run.settings], [{}] * len(runs))[:MOST_SETTINGS]


def _varying(shown: list[dict[str, Value]], behind: list[dict[str, Value]]) -> list[str]:
    names = list(dict.fromkeys(name for values in shown for name in values))
    told = [{name: values.get(name, more.get(name, DEFAULT)) for name in names}
            for values, more in zip(shown, behind, strict=False)]  # fmt: skip
    return [name for name in names if len({str(values[name]) for values in told}) > 1]


def print_table(comparison: Comparison, title: str) -> None:
    """Print the table; failed runs show their error."""
    if not comparison.runs:
        print(f"{title}: no runs.")
        return
    # a run that its settings name needs no other name
    named = not comparison.settings or _repeated(comparison)
    unfinished = any(run.status != FINISHED for run in comparison.runs)
    table = Table(title=escape(title), title_justify="left", header_style="bold", row_styles=["", "on grey7"])
    if named:
        table.add_column("run", overflow="fold")
    for name in comparison.settings:
        table.add_column(escape(name), style="cyan", overflow="fold")
    for number, name in enumerate(comparison.measures):
        arrow = (" ↓" if comparison.higher_is_better else " ↑") if number == 0 else ""
        table.add_column(name + arrow, justify="right", style="bold" if number == 0 else "")
    table.add_column("time", justify="right")
    if unfinished:
        table.add_column("status", overflow="fold")
    for run in comparison.runs:
        cells = [run.name] if named else []
        cells += [_shown(comparison.setting(run, name)) for name in comparison.settings]
        cells += ["" if name not in run.measures else f"{run.measures[name]:.4g}" for name in comparison.measures]
        cells.append("" if run.duration_s is None else _duration(run.duration_s))
        if unfinished:
            cells.append(f"{run.status}: {run.error}" if run.error and run.status == FAILED else run.status)
        table.add_row(*map(escape, cells), style="" if run.status == FINISHED else "red" if run.error else "dim")
    console = Console()
    # piped into a file, a table of 80 columns would be cut for nobody's sake
    Console(width=console.width if console.is_terminal else 200).print(table)


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write all runs, the settings that differ and every measure; numbers in full.

    Raises:
        OSError: if the file cannot be written.
    """
    known = sorted({name for run in comparison.runs for name in run.measures} - set(comparison.measures))
    measures = [*comparison.measures, *known]
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "status", *comparison.settings, *measures, "duration_s", "error"])
        for run in comparison.runs:
            settings = [comparison.setting(run, name) for name in comparison.settings]
            values = [run.measures.get(name, "") for name in measures]
            writer.writerow([run.name, run.status, *settings, *values, run.duration_s, run.error])


def _repeated(comparison: Comparison) -> bool:
    told = [tuple(str(comparison.setting(run, name)) for name in comparison.settings) for run in comparison.runs]
    return len(set(told)) < len(told)


def _shown(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
