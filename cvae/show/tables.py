"""Tables in the terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cvae.command_lines import command, shown, word
from cvae.files import finite
from cvae.tasks import Digits, LightCurves, Problem, SeaTemperature, Task

if TYPE_CHECKING:
    from torch import Tensor

    from cvae.generation import Solutions
    from cvae.metrics import Check

SHOWN = ("score", "coverage", "envelope", "valid", "rmse", "relative_rmse", "pearson", "loss", "kl")
#: conditions that get a row of their own
CONDITIONS = 10
#: what a table calls the entries of ``Solutions.completeness``
COMPLETENESS = {
    "found": "solutions found",
    "unseen": "share unseen",
    "unseen_at_most": "at most",
    "gain": "gain of the last half",
}


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


def print_summary(measures: Mapping[str, float], run_dir: Path, checkpoint: str | None, task: Task) -> None:
    """Print the measures on validation and test, where the checkpoint is, and how to look at the run and to use it."""
    stages = [stage for stage in ("val", "test") if any(name.startswith(f"{stage}/") for name in measures)]
    extra = sorted({name.split("/", 1)[1] for name in measures if name.startswith(("val/", "test/"))} - set(SHOWN))
    rows = [(name, *(measures.get(f"{stage}/{name}") for stage in stages)) for name in (*SHOWN, *extra)]
    print_table(("measure", *stages), [row for row in rows if any(value is not None for value in row[1:])])
    print(f"checkpoint:  {shown(checkpoint) if checkpoint else 'none kept'}")
    if any(run_dir.glob("events.out.tfevents.*")):
        # the folder above: TensorBoard names runs by what stands below, and HPARAMS needs names
        print(f"TensorBoard: {shlex.join(['tensorboard', '--logdir', shown(run_dir.parent)])}")
    if checkpoint:
        print(f"next:        {command('generate', [word('checkpoint', shown(checkpoint)), *example(task)])}")


def example(task: Task) -> Sequence[str]:
    """Overrides with which a model of ``task`` shows what it can do."""
    if isinstance(task, Problem):
        own = task.forward.config.get("_target_") if isinstance(task.forward.config, Mapping) else None
        allow = [f"allow=[{own}]"] if own else []
        return ("unseen=4", "draws=30", "out=solutions.npz", "picture=solutions.png", *allow)
    if isinstance(task, Digits):
        return ("number=2026", "draws=10", "out=draws.png")
    if task.y_shape == (0,):
        return ("draws=1000", "out=draws.png")
    examples = {LightCurves: "[0.1,0.5]", SeaTemperature: "[2006.04,2006.5]"}
    return (f"condition={examples.get(type(task), '...')}", "draws=10", "out=draws.png")


def print_stages(solutions: Solutions) -> None:
    """Print what each stage of the generation left, and what it cost."""
    columns = ("stage", "draws for each y", "valid", "coverage", "mean misfit")
    print_table(columns, [(name, *stage) for name, stage in solutions.stages.items()])
    print(f"{solutions.evaluations} draws decoded by the network, {solutions.forward_evaluations} evaluations of f")


def _cell(value: Tensor) -> float | int | None:
    """A number; None, an empty cell, for what is no number."""
    return None if value.isnan() else value.item()


def print_solutions(check: Check, gate: float, completeness: Mapping[str, Tensor] | None = None) -> None:
    """Print how many draws are valid, their misfit and, of lines, their straightness, over all draws.

    Args:
        check: of the draws.
        gate: what the misfit of a valid draw is below.
        completeness: by name, of each condition ``(batch,)``, see :class:`cvae.generation.Solutions`.
    """
    told = completeness or {}
    columns = ["condition", "valid", "share", "misfit, median"]
    columns += ["misfit / spread of y, median"] * (check.relative is not None)
    columns += ["straightness, lowest"] * (check.straightness is not None)
    columns += [COMPLETENESS[name] for name in told]
    conditions = len(check.valid)
    rows: list[tuple[object, ...]] = [
        (str(index), *_verdict(check.at(slice(index, index + 1))), *(_cell(values[index]) for values in told.values()))
        for index in range(min(conditions, CONDITIONS))
    ]
    if conditions > CONDITIONS:
        rows.append(("...", *[None] * (len(columns) - 1)))
    if conditions > 1:
        rows.append(
            (f"all {conditions}", *_verdict(check), *(_cell(values.float().nanmean()) for values in told.values()))
        )
    print_table(columns, rows, title=f"gate: misfit below {gate:g}")
    without = ~check.valid.any(1)
    if without.any():
        print(f"note: no draw is valid for {int(without.sum())} of {conditions} conditions; {_reason(check, gate)}")


def _reason(check: Check, gate: float) -> str:
    """Why some conditions have no valid draw, and what to do."""
    least = check.misfit[~check.valid.any(1)].amin(1)
    if least.max() < gate:
        return f"some of theirs miss y by less than the gate {gate:g}, but those leave the range or are not straight."
    low, high = f"{float(least.min()):.2g}", f"{float(least.max()):.2g}"
    smallest = low if low == high else f"{low} to {high}"
    return (
        f"the smallest misfit is {smallest}, the gate {gate:g}. If y carries noise of that size, no x can pass: make "
        "the gate the noise level, gates.rmse=NOISE. If not, no solution in range gives these y, or the model does not "
        "find it; generation=complete searches more."
    )


def _verdict(check: Check) -> tuple[object, ...]:
    valid, draws = int(check.valid.sum()), check.valid.numel()
    found: tuple[object, ...] = (f"{valid} of {draws}", valid / draws, float(check.misfit.median()))
    found += () if check.relative is None else (float(check.relative.median()),)
    return found if check.straightness is None else (*found, float(check.straightness.min()))


def print_scores(content: Mapping[str, float], hint: str | None = None, following: str | None = None) -> None:
    """Print measures by name, a hint and the command that may follow where there is one, and one JSON object as the
    last line, which programs read.

    Numbers that are not finite are null there.
    """
    print_table(("measure", "value"), content.items())
    if hint:
        print(f"note: {hint}")
    if following:
        print(f"next: {following}")
    print(json.dumps(finite(content), allow_nan=False), flush=True)
