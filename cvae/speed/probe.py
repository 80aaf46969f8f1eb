"""One measurement in a process of its own, whose peak of memory it is: ``python -m cvae.speed.probe JSON``."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

from hydra import compose, initialize_config_dir

from cvae.data import simulate
from cvae.generation import Plan, generate
from cvae.seeds import stream
from cvae.speed.compose import LITTLE_VALIDATION, model_overrides
from cvae.speed.measure import timed
from cvae.speed.turns import terminal
from cvae.speed.validation import Shares
from cvae.training import build, train


def peak_mib() -> float:
    """Largest memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # kilobytes, but bytes on macOS
    return peak / (1024 if sys.platform != "darwin" else 1024**2)


def overrides_of(sizes: Mapping[str, int]) -> list[str]:
    """A product of ``lines`` lines with ``points`` points and ``triples`` triples."""
    lines = int(sizes["lines"])
    directions = ",".join(["falling", "rising"][number % 2] for number in range(lines))
    expression = "*".join(f"x{number}" for number in range(lines))
    problem = ["data=lines", f'data.forward=["{expression}"]', f"data.directions=[{directions}]"]
    numbers = [f"data.points={sizes['points']}", f"data.source.train={sizes['triples']}"]
    return [*problem, *numbers, *model_overrides("dense"), *LITTLE_VALIDATION]


def measure(kind: str, sizes: Mapping[str, int], conf: Path) -> dict[str, float]:
    """Seconds and peak of memory, beside that of the process before it began.

    Args:
        kind: ``training`` (an epoch with all that is logged) or ``generation`` (draws for one ``y``, refined, of which
            the best 30 are kept).
        sizes: ``triples``, ``points``, ``lines`` and ``draws``.
        conf: the folder of the configs.
    """
    with initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("train", overrides=[*overrides_of(sizes), "trainer.max_epochs=1"])
    if kind == "training":
        base = peak_mib()
        shares = Shares()
        with tempfile.TemporaryDirectory() as folder, terminal():
            train(cfg, Path(folder), callbacks=[shares])
        wall = shares.epochs[0].wall - shares.validations[0].wall
        cpu = shares.epochs[0].cpu - shares.validations[0].cpu
    else:
        model = build(cfg)[1].eval()
        y = simulate(model.problem, 1, stream(0, 99)).y
        draws = int(sizes["draws"])
        generate(model, model.problem, y, Plan(count=min(30, draws), refine_steps=15), separate=False)
        base = peak_mib()
        plan = Plan(count=min(30, draws), pool=draws, refine_steps=15)
        wall, cpu = timed(lambda: generate(model, model.problem, y, plan, separate=False))
    return {"wall": wall, "cpu": cpu, "peak_mib": peak_mib(), "base_mib": base}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    asked = json.loads(sys.argv[1])
    print(json.dumps(measure(asked["kind"], asked["sizes"], Path(asked["conf"]))))
