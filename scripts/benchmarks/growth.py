"""How time and memory grow with the size of the problem, one size at a time, each in a process of its own."""

from __future__ import annotations

import json
import math
import re
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from common import Row, unseen
from loops import Epochs, train_unseen
from parts import ROOT, model_overrides
from timing import finding, timed

from cvae.errors import UserError
from cvae.files import replacing
from cvae.generation import Plan, generate
from cvae.runs.settle import settle
from cvae.runs.train import build
from cvae.tasks.figures import new_figure

#: largest slope in logarithms between the two largest sizes: linear, with room for noise
GOAL = 1.15
BOTH = ("training", "generation")
KINDS = {"triples": ("training",), "points": BOTH, "lines": BOTH, "candidates": ("generation",)}

#: measurements by size, of one kind of work along one axis
Curves = dict[tuple[str, str], dict[int, dict[str, float]]]


def growth(base: dict[str, int], axes: dict[str, list[int]], picture: str | None) -> list[Row]:
    """Seconds and memory at each size, and the slopes of both.

    Raises:
        UserError: for an unknown size, or fewer than two of one.
    """
    for name, sizes in axes.items():
        if name not in KINDS or len(sizes) < 2:
            raise UserError(f"growth.axes.{name} is {sizes}; give at least two sizes of {', '.join(KINDS)}.")
    curves: Curves = {
        (kind, name): {size: _in_process(kind, base | {name: size}) for size in sizes}
        for name, sizes in axes.items()
        for kind in KINDS[name]
    }
    if picture is not None:
        with replacing(picture) as temporary:
            _figure(curves).savefig(temporary, dpi=110)
    return [row for (kind, name), measured in curves.items() for row in growth_rows(kind, name, measured)]


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope in logarithms between the two largest sizes; 1 is linear growth."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def growth_rows(kind: str, axis: str, measured: Mapping[int, Mapping[str, float]]) -> list[Row]:
    """One row for each size, then the slopes of time and memory, each compared with :data:`GOAL`."""
    rows = [
        finding("growth", f"{kind}, {size:,} {axis}", [one["seconds"]], "CPU s")
        | {"memory_mib": round(one["memory_mib"])}
        for size, one in measured.items()
    ]
    for quantity in ("seconds", "memory_mib"):
        # below a MiB no memory is measured
        least = 1.0 if quantity == "memory_mib" else 0.0
        end = slope(list(measured), [max(one[quantity], least) for one in measured.values()])
        rows.append(finding("growth", f"{kind}, slope of {quantity} against {axis}", [end], goal=GOAL))
    return rows


def _figure(curves: Curves) -> Any:
    """Time above, memory below, each against each size, on logarithmic axes; a dotted line grows linearly."""
    names = list(dict.fromkeys(name for _, name in curves))
    figure = new_figure(3.0 * len(names), 5.0)
    axes = figure.subplots(2, len(names), squeeze=False)
    for (kind, name), measured in curves.items():
        for row, quantity in enumerate(("seconds", "peak_mib")):
            axis, values = axes[row, names.index(name)], [one[quantity] for one in measured.values()]
            (line,) = axis.loglog(list(measured), values, marker="o", markersize=4, label=kind)
            if row == 0:
                linear = [values[-1] * size / max(measured) for size in measured]
                axis.loglog(list(measured), linear, linestyle=":", color=line.get_color(), linewidth=1)
                axis.legend(fontsize=7)
            axis.set_xlabel(name)
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("CPU seconds")
    axes[1, 0].set_ylabel("peak memory, MiB")
    return figure


def _in_process(kind: str, sizes: Mapping[str, int]) -> dict[str, float]:
    words = [sys.executable, __file__, json.dumps({"kind": kind, "sizes": sizes})]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildProcessError(f"{kind} with {dict(sizes)} failed: {done.stderr.strip()[-2_000:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def probe(kind: str, sizes: Mapping[str, int]) -> dict[str, float]:
    """Seconds of the processor, the peak of this process's memory, and how much it rose during the work, in MiB.

    Args:
        kind: ``training`` (an epoch of a product of lines) or ``generation`` (candidates for one ``y``, refined, of
            which the best 30 are kept).
        sizes: ``triples``, ``points``, ``lines`` and ``candidates``.
    """
    lines = sizes["lines"]
    directions = ",".join(["falling", "rising"][number % 2] for number in range(lines))
    expression = "*".join(f"x{number}" for number in range(lines))
    problem = ["data=lines", f'data.forward=["{expression}"]', f"data.directions=[{directions}]"]
    numbers = [f"data.points={sizes['points']}", f"data.source.train={sizes['triples']}", "trainer.max_epochs=1"]
    cfg = hydra.compose("train", [*problem, *numbers, *model_overrides("dense")])
    if kind == "training":
        before, epochs = peak_mib(), Epochs(time.process_time)
        train_unseen(cfg, epochs)
        seconds = epochs.epochs[0] - epochs.validations[0]
    else:
        model = build(settle(cfg))[1].eval()
        y, draws = unseen(model.problem, 1, 0).y, min(30, sizes["candidates"])
        plan = Plan(draws=draws, candidates=sizes["candidates"], refine_steps=15)
        generate(model, model.problem, y, Plan(draws=draws, refine_steps=15), separate=False)
        before = peak_mib()
        seconds = timed(lambda: generate(model, model.problem, y, plan, separate=False), time.process_time)
    return {"seconds": seconds, "peak_mib": peak_mib(), "memory_mib": peak_mib() - before}


def peak_mib() -> float:
    """Largest memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would also count what the process was copied from
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) / 1024
    # kilobytes, but bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        print(json.dumps(probe(**json.loads(sys.argv[1]))))
