"""Comparison of runs: read from their folders into data frames, averaged over seeds, as tables and a CSV file.

Nothing here imports torch, so that the command and the end of a sweep do not wait for it.
"""

from __future__ import annotations

import logging
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cvae.config import digest, flatten
from cvae.errors import UserError
from cvae.files import replacing
from cvae.runs.folder import DIVERGED, FAILED, FINISHED, RESULT, RUNNING, decisive, read
from cvae.runs.locks import in_use

log = logging.getLogger(__name__)

#: status of a run that has begun and that no process works on
INTERRUPTED = "interrupted"
#: entries of the config by which problems differ
PROBLEM = r"^data\.(forward|gates|range|bounds|directions|points|prior)(\.|$)"
#: measures shown where runs have them
USUAL = ("val/score", "val/valid", "val/coverage_ratio", "val/mode_recall", "test/score", "test/rmse")
LOWER_IS_BETTER = ("loss", "x_term", "y_term", "kl", "set_violation", "rmse", "relative_rmse", "reference_distance")
#: shown for a setting that a run does not override and that its config does not name, as ``model`` of ``model=deep``
DEFAULT = "(default)"
ABOUT = ["problem", "group", "seed", "status", "duration_s", "error", "optimized_metric", "optimized_mode"]
#: characters of a line in a cell where the table is narrow, and of a table that is not printed to a terminal
WIDEST_CELL, WIDEST_FILE = 30, 200


@dataclass(frozen=True)
class Runs:
    """Frames with one row per run, indexed by the name of its folder; nan where a run has no such entry."""

    #: columns ABOUT; group is equal for runs that differ in their seed alone
    about: pd.DataFrame
    #: final measures
    measures: pd.DataFrame
    #: overrides and the flattened config, as text
    settings: pd.DataFrame
    #: names of the settings that at least one run overrides
    overridden: list[str]


@dataclass(frozen=True)
class Summary:
    """Finished runs of one problem, as frames with one row per group of runs that differ in their seed alone."""

    #: its forward functions, and the entries that tell it from other problems
    problem: str
    #: run (name of the group), seeds (their number), time (mean over the runs, as text)
    groups: pd.DataFrame
    #: settings that differ between groups, as text
    settings: pd.DataFrame
    #: mean and sample standard deviation of each measure over the seeds; the first one gives the order, best first
    mean: pd.DataFrame
    std: pd.DataFrame
    #: measures of the single runs, indexed by group
    each: pd.DataFrame
    #: the order in words
    order: str


def read_runs(folder: Path) -> Runs:
    """All runs in ``folder`` and below; a record that cannot be read is left out with a warning.

    Raises:
        UserError: if there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"dir is {folder}, which is no folder; name one that holds runs.")
    rows = {}
    for path in sorted(folder.rglob(RESULT)):
        name = path.parent.relative_to(folder).as_posix()
        try:
            rows[folder.resolve().name if name == "." else name] = _run(path.parent, read(path.parent) or {})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s: left out, since it is no record of a run (%s).", path, error)
    names, parts = list(rows), list(zip(*rows.values(), strict=True)) or [()] * 4
    about = pd.DataFrame(parts[0], names, ABOUT).astype({"duration_s": float})
    measures = pd.DataFrame(parts[1], names, dtype=float)
    settings = pd.DataFrame(
        [{**first, **second} for first, second in zip(*parts[2:], strict=True)], names, dtype=object
    )
    entries = settings.filter(regex=PROBLEM).drop(columns=["data.forward", "data.forward._target_"], errors="ignore")
    for name in entries.columns[entries.dropna(how="all").nunique(dropna=False) > 1]:
        about["problem"] += (f", {name.removeprefix('data.')} " + entries[name]).fillna("")
    return Runs(about, measures, settings, list(dict.fromkeys(name for overrides in parts[2] for name in overrides)))


def _run(run_dir: Path, record: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """A run's row: what it is, its measures, its overrides and its config."""
    config: dict[str, Any] = record.get("config") or {}
    data = config.get("data") or {}
    forward = data.get("forward") or str(data.get("_target_", "problem not recorded")).rpartition(".")[2]
    if isinstance(forward, Mapping):
        forward = forward["_target_"]
    settings = {name: str(value) for name, value in decisive(config).items()}
    seed = settings.get("seed")
    # data.seed and others follow the seed, unless they were set to another value
    repeated = {name: value for name, value in settings.items() if name.rpartition(".")[2] != "seed" or value != seed}
    status = str(record["status"])
    about = {
        "problem": ", ".join(map(str, forward)) if isinstance(forward, list) else str(forward),
        "group": digest(repeated) if settings else str(run_dir),
        "seed": seed,
        "status": INTERRUPTED if status == RUNNING and not in_use(run_dir) else status,
        "duration_s": record.get("duration_s"),
        "error": str(record.get("error") or "").partition("\n")[0],
        "optimized_metric": record.get("optimized_metric") or settings.get("optimized_metric"),
        "optimized_mode": settings.get("optimized_mode", "max"),
    }
    # what a training that still runs has measured is not final
    measures = flatten(record.get("measures", {})) if status == FINISHED else {}
    numbers = {name: float("nan" if value is None else value) for name, value in measures.items()}
    # "+" adds an entry, "~" deletes one
    parts = [override.partition("=") for override in record.get("overrides") or []]
    overrides = {key.lstrip("+~"): "~" if key.startswith("~") else value for key, _, value in parts}
    return about, numbers, overrides, settings


def summarize(runs: Runs, metrics: Sequence[str] | None = None, sort: str | None = None) -> list[Summary]:
    """Averages over seeds of the finished runs of each problem; the same run found twice counts once.

    Args:
        runs: as :func:`read_runs` gives them.
        metrics: the measures to show; None takes the optimised one and the usual others.
        sort: the measure to sort by; None takes the optimised one.

    Raises:
        UserError: for a measure that no run has.
    """
    for option, names in (("sort", [sort] if sort else []), ("metrics", metrics or [])):
        for name in names:
            if name not in runs.measures:
                known = ", ".join(sorted(runs.measures)) or "none, since no run has finished"
                raise UserError(f"{option} names {name!r}, which no run has measured; there are {known}.")
    finished = runs.about[runs.about["status"] == FINISHED].drop_duplicates(["group", "seed"])
    return [_summary(runs, about, metrics, sort) for _, about in finished.groupby("problem", sort=False)]


def _summary(runs: Runs, about: pd.DataFrame, metrics: Sequence[str] | None, sort: str | None) -> Summary:
    measures = runs.measures.loc[about.index].dropna(axis=1, how="all")
    optimized = [name for name in about["optimized_metric"].dropna().unique() if name in measures]
    first = [sort] if sort else optimized[:1]
    shown = list(dict.fromkeys([*first, *(metrics or [name for name in USUAL if name in measures] or measures)]))
    better = "lower" if shown and shown[0].rpartition("/")[2] in LOWER_IS_BETTER else "higher"
    if shown and shown[0] in optimized:
        better = "lower" if (about["optimized_mode"] == "min").any() else "higher"
    each = runs.measures.loc[about.index, shown].set_index(about["group"])
    seeds = about.groupby("group").size()
    # a mean without the seeds that reached no number would be better than the runs are
    mean = each.groupby(level=0).mean().where(each.groupby(level=0).count().eq(seeds, axis=0)).reindex(seeds.index)
    if shown:
        mean = mean.sort_values(shown[0], ascending=better == "lower")
    time = pd.to_timedelta(about.groupby("group")["duration_s"].mean(), unit="s").dt.round("s").astype(str).fillna("")
    names = about.index.to_series().groupby(about["group"]).agg(lambda group: _common(list(group)))
    groups = pd.DataFrame({"run": names, "seeds": seeds, "time": time.str.removeprefix("0 days ")}).loc[mean.index]
    settings, std = _differing(runs, about).loc[mean.index], each.groupby(level=0).std().reindex(mean.index)
    order = f"best first: {shown[0]}, {better} is better" if shown else "no measures"
    return Summary(about["problem"].iloc[0], groups, settings, mean, std, each, order)


def _common(names: list[str]) -> str:
    """What the names of a group's folders share, without the seed and the hash of a long name."""
    if len(names) == 1:
        return names[0]
    bare = {re.sub(r"(?<![^,/])seed=[^,/-]*,?|-[0-9a-f]{8}$", "", name).strip(",/") for name in names}
    # the longest text in common, not the deepest folder
    return os.path.commonprefix(list(bare)) + "..." * (len(bare) > 1) or "default"  # noqa: RUF071


def _differing(runs: Runs, about: pd.DataFrame) -> pd.DataFrame:
    """Settings that differ between groups: the overrides, or where none does, entries of the config.

    ``model=deep`` changes a dozen entries of the config, so that an override says more.
    """
    settings = runs.settings.loc[about.index].fillna(dict.fromkeys(runs.overridden, DEFAULT)).fillna("")
    within = settings.groupby(about["group"]).nunique().max()
    varying = [name for name in settings.columns[(settings.nunique() > 1) & (within == 1)] if name != "seed"]
    chosen = [name for name in varying if name in runs.overridden]
    chosen = chosen or [name for name in varying if not name.endswith(".seed")]
    return settings[chosen].groupby(about["group"]).first()


def print_tables(runs: Runs, summaries: Sequence[Summary], title: str, width: int | None = None) -> None:
    """Print a table for each problem, and a line for each run that has not finished.

    ``width`` is in characters; None takes that of the terminal. Columns that do not fit are named below the table.
    """
    console = Console(width=width)
    if width is None and not console.is_terminal:
        console = Console(width=WIDEST_FILE)
    console.print(escape(title) + ("" if len(runs.about) else ": no runs."))
    for summary in summaries:
        _print_table(summary, console)
    for name, run in runs.about.iterrows():
        if run["status"] in (FAILED, DIVERGED):
            console.print(escape(f"{name}  {run['status']}: {run['error']}"), style="red")
        elif run["status"] != FINISHED:
            console.print(escape(f"{name}  {run['status']}"))


def _print_table(summary: Summary, console: Console) -> None:
    measures = summary.mean.map("{:.4g}".format) + summary.std.map(" ± {:.1g}".format).where(summary.std.notna(), "")
    parts = [summary.groups[["run"]], summary.settings, measures, summary.groups[["seeds", "time"]]]
    cells = pd.concat(parts, axis=1).astype(str).map(fold, width=max(WIDEST_CELL, console.width // 4))
    kept, left = [], console.width - 1
    for name in dict.fromkeys(["run", *measures.columns[:1], "seeds", *summary.settings, *measures, "time"]):
        # a column has a border and two spaces beside its text
        needed = max(len(line) for text in [name, *cells[name]] for line in text.split("\n")) + 3
        if needed <= left:
            kept.append(name)
            left -= needed
    table = Table(title=escape(summary.problem), title_justify="left", row_styles=["", "on grey7"])
    for name in [name for name in cells if name in kept]:
        table.add_column(escape(name), justify="right" if name in measures else "left")
    for row in cells[[name for name in cells if name in kept]].itertuples(index=False):
        table.add_row(*map(escape, row))
    console.print(table)
    hidden = [name for name in cells if name not in kept]
    console.print(summary.order + (f"; no room for {', '.join(hidden)}" if hidden else ""), style="dim", markup=False)


def fold(text: str, width: int = WIDEST_CELL) -> str:
    """A long text in lines of ``width`` characters, broken after commas where possible."""
    return "\n".join(textwrap.wrap(text.replace(",", ", "), width)).replace(", ", ",")


def write_csv(runs: Runs, path: Path) -> None:
    """Write one row per run, with every measure and every setting; numbers in full.

    Raises:
        OSError: if the file cannot be written.
    """
    settings = runs.settings.drop(columns=ABOUT, errors="ignore")
    with replacing(path) as temporary:
        pd.concat([runs.about, runs.measures, settings], axis=1).to_csv(temporary, index_label="run")
