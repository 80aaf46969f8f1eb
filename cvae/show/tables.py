"""Tables in the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cvae.files import finite

if TYPE_CHECKING:
    from cvae.generation import Solutions
    from cvae.metrics import Check

SHOWN = ("score", "coverage", "envelope", "valid", "rmse", "pearson", "loss", "kl")
#: conditions that get a row of their own
CONDITIONS = 10


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table; columns of numbers are aligned at the right.

    Args:
        columns: their names.
        rows: one cell for each column: numbers, of which fractions get four digits, text, or None.
        title: printed above.
    """
    rows = list(rows)
    table = Table(title=title and Text(title), title_justify="left")
    for number, name in enumerate(columns):
        texts = any(isinstance(row[number], str) for row in rows)
        table.add_column(Text(name), justify="left" if texts else "right")
    for row in rows:
        # as Text, in which brackets are no markup
        table.add_row(*(Text(cell(value)) for value in row))
    console = Console()
    # what is no terminal has no width, so nothing need be folded
    wide = Console(width=10_000).measure(table).maximum
    Console(width=None if console.is_terminal else wide).print(table)


def cell(value: object) -> str:
    """What a table shows of a value: fractions in four digits, nothing for None."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def print_summary(measures: Mapping[str, float], run_dir: Path, checkpoint: str | None) -> None:
    """Print the measures on validation and test, where the checkpoint is, and how to look at the run."""
    stages = [stage for stage in ("val", "test") if any(name.startswith(f"{stage}/") for name in measures)]
    extra = sorted({name.split("/", 1)[1] for name in measures if name.startswith(("val/", "test/"))} - set(SHOWN))
    rows = [(name, *(measures.get(f"{stage}/{name}") for stage in stages)) for name in (*SHOWN, *extra)]
    print_table(("measure", *stages), [row for row in rows if any(value is not None for value in row[1:])])
    print(f"checkpoint:  {shown(checkpoint) if checkpoint else 'none kept'}")
    if any(run_dir.rglob("events.out.tfevents.*")):
        print(f"TensorBoard: tensorboard --logdir {shown(run_dir)}")


def shown(path: str | Path) -> str:
    """A path relative to where the user is, if it lies below."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def print_stages(solutions: Solutions) -> None:
    """Print what each stage of the generation left, and what it cost."""
    columns = ("stage", "draws for each y", "valid", "coverage", "mean misfit")
    print_table(columns, [(name, *stage) for name, stage in solutions.stages.items()])
    print(f"{solutions.evaluations} draws decoded by the network, {solutions.forward_evaluations} evaluations of f")


def print_solutions(check: Check) -> None:
    """Print how many draws are valid, their misfit and, of lines, their straightness, the latter two over all draws."""
    columns = ["condition", "valid", "share", "misfit, median"]
    if check.straightness is not None:
        columns.append("straightness, lowest")
    conditions = len(check.valid)
    rows = [(str(index), *_verdict(check.at(slice(index, index + 1)))) for index in range(min(conditions, CONDITIONS))]
    if conditions > CONDITIONS:
        rows.append(("...", *[None] * (len(columns) - 1)))
    if conditions > 1:
        rows.append((f"all {conditions}", *_verdict(check)))
    print_table(columns, rows)
    if not check.valid.any():
        print(
            f"note: no draw is valid, the smallest misfit is {float(check.misfit.min()):.4g}; either no solution in "
            "range gives these y, or the model does not find it."
        )


def _verdict(check: Check) -> tuple[object, ...]:
    valid, draws = int(check.valid.sum()), check.valid.numel()
    found = (f"{valid} of {draws}", valid / draws, float(check.misfit.median()))
    return found if check.straightness is None else (*found, float(check.straightness.min()))


def print_scores(content: Mapping[str, float], hint: str | None = None) -> None:
    """Print measures by name, a hint where there is one, and one JSON object as the last line.

    Numbers that are not finite are null there.
    """
    print_table(("measure", "value"), content.items())
    if hint:
        print(f"note: {hint}")
    print(json.dumps(finite(content), allow_nan=False), flush=True)
