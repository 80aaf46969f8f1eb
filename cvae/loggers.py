"""Loggers that go on where a run was interrupted."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from pathlib import Path

from hydra.utils import instantiate
from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from cvae.files import replacing

BOARD = "lightning.pytorch.loggers.TensorBoardLogger"


class ContinuedCSVLogger(CSVLogger):
    """Lightning's CSV logger, but it appends to a file that is there, where Lightning's removes it."""

    @property
    @rank_zero_experiment
    def experiment(self) -> _ExperimentWriter:
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _Appending(log_dir=self.log_dir)
        return self._experiment

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop what was logged at ``step`` and later, which will be logged again."""
        path = Path(self.log_dir, ExperimentWriter.NAME_METRICS_FILE)
        if not path.is_file():
            return
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or [])
            # a row that was cut short has no step
            rows = [row for row in reader if (row.get("step") or "").isdigit() and int(row["step"]) < step]
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


class _Appending(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = list(csv.DictReader(file).fieldnames or [])


def build_loggers(entries: Iterable[DictConfig | None], step: int | None) -> list[Logger]:
    """The loggers of a config.

    Args:
        entries: their configs; None for one that was switched off.
        step: the optimiser step that a resumed run goes on from, None for a new run. What a run in the same folder
            logged from there on is dropped.
    """
    loggers: list[Logger] = []
    for entry in entries:
        if entry is None:
            continue
        resumed_board = step is not None and entry.get("_target_") == BOARD
        logger = instantiate(entry, purge_step=step) if resumed_board else instantiate(entry)
        if resumed_board:
            _wait_for_a_later_name(Path(logger.log_dir))
        if isinstance(logger, ContinuedCSVLogger):
            logger.rewind(step or 0)
        loggers.append(logger)
    return loggers


def _wait_for_a_later_name(folder: Path) -> None:
    """Let the second pass in which the newest event file was begun.

    TensorBoard reads event files in the order of their names, which begin with the whole second of their creation: of
    two from one second, the one with the smaller process number would count as the earlier one.
    """
    seconds = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    newest = max((int(second) for second in seconds if second.isdigit()), default=0)
    # a file from a machine whose clock is ahead is not waited for
    time.sleep(min(max(newest + 1 - time.time(), 0.0), 1.0))
