"""The findings as a table, as Markdown and as JSON."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from cvae.speed.measure import Finding

COLUMNS = ("part", "what", "value", "quartiles", "by CPU time", "by sums", "goal", "")


def cells(finding: Finding) -> tuple[str, ...]:
    """One line of the table."""
    wall, cpu = finding.details.get("wall"), finding.details.get("cpu")
    ratio = finding.unit == "x"
    quartiles = f"{_number(wall['low'])} to {_number(wall['high'])}" if isinstance(wall, Mapping) else ""
    by_cpu = _number(cpu["median"]) if isinstance(cpu, Mapping) else _number(finding.details.get("share_cpu"))
    sums = _number(finding.details.get("total_wall")) if ratio else ""
    goal = "" if finding.goal is None else f"{'at most' if finding.at_most else 'at least'} {_number(finding.goal)}"
    verdict = {True: "reached", False: "missed", None: ""}[finding.reached]
    value = f"{_number(finding.value)} {finding.unit}".strip()
    return finding.part, finding.name, value, quartiles, by_cpu, sums, goal, verdict


def print_table(findings: Sequence[Finding]) -> None:
    """Print the table for a terminal."""
    table = Table(*COLUMNS)
    for finding in findings:
        table.add_row(*cells(finding))
    Console(width=160).print(table)


def markdown(findings: Sequence[Finding]) -> str:
    """The same for a document."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *("| " + " | ".join(cells(finding)) + " |" for finding in findings)])


def record(findings: Sequence[Finding], seconds: float) -> dict[str, Any]:
    """Plain data: the findings, and what they were measured on."""
    return {
        "findings": [finding.record for finding in findings],
        "seconds": seconds,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "load": list(os.getloadavg()),
        },
    }


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
