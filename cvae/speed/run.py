"""All parts of the benchmark, from plain settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from cvae.files import write_json
from cvae.speed.compose import Compose
from cvae.speed.generation import measure_generation
from cvae.speed.growth import growth_markdown, measure_growth
from cvae.speed.measure import Finding
from cvae.speed.report import markdown, print_table, record
from cvae.speed.start import measure_start
from cvae.speed.training import measure_training, measure_usual
from cvae.speed.validation import measure_validation

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("training", "starter", "generation", "validation", "start", "growth")


def run(settings: Mapping[str, Any], compose: Compose) -> list[Finding]:
    """Measure, print and write.

    Args:
        settings: see ``conf/benchmark_speed.yaml``.
        compose: the training config from overrides.

    Raises:
        ValueError: for an unknown part.
    """
    unknown = [part for part in settings["parts"] if part not in PARTS]
    if unknown:
        raise ValueError(f"parts holds {unknown[0]!r}; choose from {', '.join(PARTS)}.")
    if settings["threads"] is not None:
        torch.set_num_threads(settings["threads"])
    started = time.time()
    findings: list[Finding] = []
    for part in settings["parts"]:
        findings += _measure(part, settings[part], compose)
        print_table(findings)
        # after each part, so that a run that is stopped leaves what it has
        write_json(settings["out"], record(findings, round(time.time() - started, 1)))
    print(markdown(findings))
    grown = [finding for finding in findings if finding.part == "growth"]
    if grown:
        print(growth_markdown(grown))
    print(f"written to {settings['out']}")
    return findings


def _measure(part: str, own: Mapping[str, Any], compose: Compose) -> list[Finding]:
    picture = Path(own["picture"]) if own.get("picture") else None
    measures: dict[str, Callable[[], list[Finding]]] = {
        "training": lambda: measure_training(
            compose,
            own["models"],
            own["batch_sizes"],
            own["samples"],
            own["block"],
            own["seconds"],
            own["index_select"],
            own["overrides"],
        ),
        "starter": lambda: measure_usual(compose, own["samples"], own["block"], own["seconds"], own["overrides"]),
        "generation": lambda: measure_generation(
            compose, own["models"], own["conditions"], own["draws"], own["pool"], own["rounds"], own["epochs"]
        ),
        "validation": lambda: measure_validation(compose, own["epochs"], own["overrides"]),
        "start": lambda: measure_start(ROOT, own["rounds"]),
        "growth": lambda: measure_growth(ROOT / "conf", own["base"], own["axes"], picture),
    }
    return measures[part]()
