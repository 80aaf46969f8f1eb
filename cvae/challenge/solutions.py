"""Generated solutions as files: ``.npz``, ``.pt`` and ``.csv``, with misfit, straightness and validity."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cvae.files import replacing
from cvae.generation import Solutions
from cvae.problems import Check, Problem

# conditions that are drawn
PICTURED = 4
# conditions that get a row of their own in the table
SHOWN = 10


def solution_arrays(x: Tensor, y: Tensor, check: Check) -> dict[str, Tensor]:
    """What is written: x ``(batch, draws, lines, points)``, y ``(batch, conditions, points)``, misfit and valid
    ``(batch, draws)``, straightness ``(batch, draws, lines)``."""
    return {"x": x, "y": y, "misfit": check.misfit, "straightness": check.straightness, "valid": check.valid}


def write_solutions(path: str | Path, x: Tensor, y: Tensor, check: Check) -> None:
    """Write solutions, whole or not at all, in the format that the suffix of ``path`` names.

    Raises:
        ValueError: for another suffix.
        OSError: if the folder cannot be written to.
    """
    path = Path(path)
    write = writer(path)
    with replacing(path) as temporary:
        write(temporary, solution_arrays(x, y, check))


def print_stages(solutions: Solutions) -> None:
    """Print what each stage of the generation left, and what it cost."""
    table = Table("stage", "draws for each y", "valid", "coverage", "mean misfit")
    for name, stage in solutions.stages.items():
        table.add_row(name, str(stage.draws), f"{stage.valid:.1%}", f"{stage.coverage:.4f}", f"{stage.rmse:.4g}")
    console = Console(soft_wrap=True)
    console.print(table)
    cost = f"{solutions.evaluations} draws decoded by the network, {solutions.forward_evaluations} evaluations of f"
    console.print(cost, highlight=False)


def write_picture(path: str | Path, problem: Problem, solutions: Solutions, y: Tensor) -> None:
    """Draw the solutions of the first few conditions, whole or not at all.

    Raises:
        ValueError: for a suffix other than ``.png``, ``.pdf`` and ``.svg``.
    """
    from cvae.plots import solutions_figure

    path = Path(path)
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"picture is {path}; it must end in .png, .pdf or .svg.")
    part = slice(0, PICTURED)
    figure = solutions_figure(problem, solutions.x[part], y[part], solutions.check.at(part))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def writer(path: str | Path) -> Callable[[Path, Mapping[str, Tensor]], None]:
    """The function that writes files such as ``path``.

    Raises:
        ValueError: for a suffix other than ``.npz``, ``.pt`` and ``.csv``.
    """
    suffix = Path(path).suffix
    if suffix not in WRITERS:
        raise ValueError(f"out is {path}; it must end in {', '.join(WRITERS)}.")
    return WRITERS[suffix]


def _write_npz(path: Path, arrays: Mapping[str, Tensor]) -> None:
    content: dict[str, Any] = {name: array.numpy() for name, array in arrays.items()}
    np.savez_compressed(path, **content)


def _write_pt(path: Path, arrays: Mapping[str, Tensor]) -> None:
    torch.save({name: array.clone() for name, array in arrays.items()}, path)


def _write_csv(path: Path, arrays: Mapping[str, Tensor]) -> None:
    """One row for each draw; a line by its first and its last value."""
    x, valid, misfit, straightness = (arrays[name] for name in ("x", "valid", "misfit", "straightness"))
    names = [f"x{line}" for line in range(x.shape[2])]
    header = ["condition", "draw", "valid", "misfit", *(f"{name}_straightness" for name in names)]
    header += [f"{name}_{end}" for name in names for end in ("left", "right")]
    # numbers as short as float32 allows
    ends = x[..., [0, -1]].flatten(2).numpy().astype(str)
    straight, error = straightness.numpy().astype(str), misfit.numpy().astype(str)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        for i, j in np.ndindex(*valid.shape):
            table.writerow([i, j, int(valid[i, j]), error[i, j], *straight[i, j], *ends[i, j]])


WRITERS: dict[str, Callable[[Path, Mapping[str, Tensor]], None]] = {
    ".npz": _write_npz,
    ".pt": _write_pt,
    ".csv": _write_csv,
}


def print_solutions(check: Check, path: str | Path) -> None:
    """Print the share of valid draws, misfit and straightness, the latter two over all draws, and where they are."""
    table = Table("condition", "valid", "misfit, median", "straightness, lowest")
    for index in range(min(len(check.valid), SHOWN)):
        table.add_row(str(index), *_cells(check.at(slice(index, index + 1))))
    if len(check.valid) > SHOWN:
        table.add_row("...", "", "", "")
    if len(check.valid) > 1:
        table.add_row(f"all {len(check.valid)}", *_cells(check))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    if not check.valid.any():
        console.print(
            f"note: no draw is valid, the smallest misfit is {float(check.misfit.min()):.4g}; either no solution "
            "within the range gives these y, or the model does not find it.",
            markup=False,
        )
    console.print(f"solutions: {path}", markup=False)


def _cells(check: Check) -> list[str]:
    valid, draws = int(check.valid.sum()), check.valid.numel()
    median, lowest = float(check.misfit.median()), float(check.straightness.min())
    return [f"{valid} of {draws} ({valid / draws:.1%})", f"{median:.4g}", f"{lowest:.4f}"]
