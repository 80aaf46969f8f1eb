"""How time and memory grow with the size of the problem, one size at a time."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvae.speed.measure import Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: largest slope in logarithms between the two largest sizes: linear, with room for noise
GOAL = 1.15
BOTH = ("training", "generation")
KINDS = {"triples": ("training",), "points": BOTH, "lines": BOTH, "draws": ("generation",)}


def points_of(base: Mapping[str, int], axes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, str, int]]:
    """Kind, axis and size of each measurement."""
    for axis, sizes in axes.items():
        for kind in KINDS[axis]:
            for size in sizes:
                yield kind, axis, size


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope in logarithms between the two largest sizes; 1 is linear growth."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def measure_growth(
    conf: Path, base: Mapping[str, int], axes: Mapping[str, Sequence[int]], picture: Path | None
) -> list[Finding]:
    """Vary one size at a time.

    Args:
        conf: the folder of the configs.
        base: the other sizes: ``triples``, ``points``, ``lines``, ``draws``.
        axes: sizes to try, ascending, by name.
        picture: a file for the figure.
    """
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for kind, axis, size in points_of(base, axes):
        asked = {"kind": kind, "sizes": {**base, axis: size}, "conf": str(conf)}
        words = [sys.executable, "-m", "cvae.speed.probe", json.dumps(asked)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChildProcessError(f"{kind} with {size} {axis} failed: {done.stderr.strip().splitlines()[-1:]}")
        found.setdefault((kind, axis), {})[size] = json.loads(done.stdout.splitlines()[-1])
    if picture is not None:
        figure = growth_figure(found)
        figure.savefig(picture, dpi=110)
    return [finding for (kind, axis), rows in found.items() for finding in _findings(kind, axis, rows)]


def _findings(kind: str, axis: str, rows: Mapping[int, Mapping[str, float]]) -> list[Finding]:
    """Of time and of memory; what a process takes before it begins is no growth."""
    sizes = list(rows)
    # below a MiB nothing is measured
    extra = [max(row["peak_mib"] - row["base_mib"], 1.0) for row in rows.values()]
    details: dict[str, Any] = {"sizes": sizes, "rows": list(rows.values())}
    measured = {"time": [row["cpu"] for row in rows.values()], "memory": extra}
    return [
        Finding(
            "growth", f"{kind} {what} against {axis}, slope at the end", slope(sizes, values), "", GOAL, True, details
        )
        for what, values in measured.items()
    ]


def growth_markdown(findings: Sequence[Finding]) -> str:
    """Every measurement: seconds and memory by size."""
    lines = ["| what | size | seconds | CPU seconds | peak, MiB | of that at work, MiB |", "|---|---|---|---|---|---|"]
    for finding in findings:
        if " time " not in finding.name:
            continue  # the rows hold both
        name = finding.name.split(",")[0].replace(" time", "")
        for size, row in zip(finding.details["sizes"], finding.details["rows"], strict=True):
            extra = row["peak_mib"] - row["base_mib"]
            lines.append(
                f"| {name} | {size:,} | {row['wall']:.3g} | {row['cpu']:.3g} | {row['peak_mib']:.0f} | {extra:.0f} |"
            )
    return "\n".join(lines)


def growth_figure(found: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]) -> Figure:
    """Time above, memory below, each over each size, on logarithmic axes; a dotted line grows linearly."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(axis for _, axis in found))
    figure = Figure(figsize=(3.0 * len(names), 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(names), squeeze=False)
    for (kind, name), rows in found.items():
        for row, key in enumerate(("cpu", "peak_mib")):
            axis = axes[row, names.index(name)]
            values = [measured[key] for measured in rows.values()]
            (line,) = axis.plot(list(rows), values, marker="o", markersize=4, label=kind)
            if key == "cpu":
                linear = [values[-1] * size / max(rows) for size in rows]
                axis.plot(list(rows), linear, linestyle=":", color=line.get_color(), linewidth=1)
    for column, name in enumerate(names):
        for row, label in enumerate(("CPU seconds", "peak memory, MiB")):
            axis = axes[row, column]
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xlabel(name)
            axis.set_ylabel(label if column == 0 else "")
            axis.grid(alpha=0.3)
            sizes = sorted({size for (_, other), rows in found.items() if other == name for size in rows})
            axis.set_xticks(sizes, [f"{size:,}".replace(",000,000", "M").replace(",000", "k") for size in sizes])
            axis.xaxis.minorticks_off()
            if row == 0:
                axis.yaxis.minorticks_off()
            axis.tick_params(which="both", labelsize=7)
        axes[0, column].legend(fontsize=7)
    return figure
