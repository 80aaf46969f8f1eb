"""Loggers that go on where a run was interrupted."""

from __future__ import annotations

import csv
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

BOARD = "lightning.pytorch.loggers.TensorBoardLogger"


def build_loggers(entries: Iterable[DictConfig | None], step: int | None) -> list[Logger]:
    """The loggers of a config.

    Args:
        entries: their configs; None for one that was switched off.
        step: the optimiser step that a resumed run goes on from, None for a new run. What a run in the same folder
            logged from there on is dropped.
    """
    chosen = [entry for entry in entries if entry is not None]
    if step is None:
        return [instantiate(entry) for entry in chosen]
    loggers: list[Logger] = []
    for entry in chosen:
        if entry.get("_target_") == BOARD:
            # TensorBoard reads event files in the order of the seconds in which they were begun
            time.sleep(1.0)
            loggers.append(instantiate(entry, purge_step=step))
        else:
            loggers.append(instantiate(entry))
        if isinstance(loggers[-1], CSVLogger):
            _log_again(loggers[-1], step)
    return loggers


@rank_zero_only
def _log_again(logger: CSVLogger, step: int) -> None:
    """Log the rows before ``step`` again, since Lightning's logger starts an empty file."""
    path = Path(logger.log_dir, "metrics.csv")
    if not path.is_file():
        return
    with path.open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the file is removed
        for row in rows:
            at = row.pop("step", None) or ""
            # a row that was cut short has no step
            if at.isdigit() and int(at) < step:
                logger.log_metrics({name: value for name, value in row.items() if value}, int(at))
        logger.save()
