"""What it takes to import the package and to start ``train.py``, in processes of their own."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cvae.speed.measure import Finding, Lap, finding_of, ratio, spread

#: seconds of ``train.py --help``, and imports of torch and lightning per import of cvae (1 / 1.2); what was promised
HELP_GOAL, IMPORT_GOAL = 3.0, 1 / 1.2
RIVAL = "import torch, lightning"
OURS = ("import cvae", "from cvae import CVAE", "import cvae.runs.launch")


def process(words: Sequence[str], folder: Path) -> Lap:
    """Seconds of one process.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Lap(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measure_start(folder: Path, rounds: int) -> list[Finding]:
    """Seconds of ``train.py --help`` and ratios of imports, in turns.

    Args:
        folder: the checkout.
        rounds: processes of each kind.
    """
    laps: dict[str, list[Lap]] = {name: [] for name in ("--help", RIVAL, *OURS)}
    for _ in range(rounds):
        for name, found in laps.items():
            found.append(process(["train.py", "--help"] if name == "--help" else ["-c", name], folder))
    wall, cpu = (spread([getattr(lap, kind) for lap in laps["--help"]]) for kind in ("wall", "cpu"))
    details = {"wall": wall._asdict(), "cpu": cpu._asdict()}
    findings = [Finding("start", "python train.py --help", wall.median, "s", HELP_GOAL, True, details)]
    for name in OURS:
        measured = ratio(laps[name], laps[RIVAL], rounds)
        findings.append(finding_of("start", f"{name}, against {RIVAL}", measured, IMPORT_GOAL))
    return findings
