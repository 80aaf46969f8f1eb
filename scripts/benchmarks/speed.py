"""Ratios to plain loops, measured in turns: ``python scripts/benchmarks/speed.py parts=[training,start]``."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import hydra
import torch
from common import Row, command_line, markdown, show
from growth import growth
from omegaconf import DictConfig
from parts import generation, start, starter, training, validation

from cvae.config import plain
from cvae.errors import UserError
from cvae.files import write_json
from cvae.runs.options import check_entries

PARTS: dict[str, Callable[..., list[Row]]] = {
    "training": training,
    "starter": starter,
    "generation": generation,
    "validation": validation,
    "start": start,
    "growth": growth,
}


def measure(settings: Mapping[str, Any]) -> None:
    """Measure the parts, print one table, the same as Markdown, and write JSON.

    Args:
        settings: ``parts``, ``out``, ``threads``, and for each part the arguments of its function.

    Raises:
        UserError: for an unknown part, or an entry that makes no sense.
    """
    unknown = [part for part in settings["parts"] if part not in PARTS]
    if unknown:
        raise UserError(f"parts holds {unknown[0]!r}; choose from {', '.join(PARTS)}.")
    for part in settings["parts"]:
        check_entries(settings[part], PARTS[part], part)
    if settings["threads"] is not None:
        torch.set_num_threads(settings["threads"])
    rows: list[Row] = []
    for part in settings["parts"]:
        rows += PARTS[part](**settings[part])
        show(rows)
        # after each part, so that a run that is stopped leaves what it has
        write_json(settings["out"], {"machine": machine(), "findings": rows})
    print(markdown(rows))
    print(f"written to {settings['out']}")


def machine() -> dict[str, Any]:
    """What was measured on, and when."""
    return {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": list(os.getloadavg()),
    }


@hydra.main(version_base="1.3", config_path="../../conf", config_name="speed")
def main(cfg: DictConfig) -> None:
    """Run with the settings of ``conf/speed.yaml``."""
    with command_line():
        measure(plain(cfg))


if __name__ == "__main__":
    main()
