"""The short table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

SHOWN = ("score", "coverage", "envelope", "valid", "rmse", "pearson", "loss", "kl")


def print_summary(measures: Mapping[str, float], run_dir: Path, checkpoint: str | None) -> None:
    """Print the measures on validation and test, where the checkpoint is, and how to look at the run."""
    stages = [stage for stage in ("val", "test") if any(name.startswith(f"{stage}/") for name in measures)]
    table = Table("measure", *stages)
    extra = sorted({name.split("/", 1)[1] for name in measures if name.startswith(("val/", "test/"))} - set(SHOWN))
    for name in (*SHOWN, *extra):
        cells = [measures.get(f"{stage}/{name}") for stage in stages]
        if any(cell is not None for cell in cells):
            table.add_row(name, *("" if cell is None else f"{cell:.4g}" for cell in cells))
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"checkpoint:  {shown(checkpoint) if checkpoint else 'none kept'}", highlight=False)
    if any(run_dir.rglob("events.out.tfevents.*")):
        console.print(f"TensorBoard: tensorboard --logdir {shown(run_dir)}", highlight=False)


def shown(path: str | Path) -> str:
    """A path relative to where the user is, if it lies below."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
