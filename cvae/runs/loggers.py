"""Loggers that go on where a run was interrupted, and services beside TensorBoard."""

from __future__ import annotations

import csv
import logging
import os
import re
import time
import warnings
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from cvae.errors import MissingFileError, UserError
from cvae.files import read_text

log = logging.getLogger(__name__)

LOGGERS = "lightning.pytorch.loggers."
#: loggers with a package of their own, also the name of an extra, and the option by which they know a run again
SERVICES = {f"{LOGGERS}MLFlowLogger": ("mlflow", "run_id"), f"{LOGGERS}WandbLogger": ("wandb", "version")}
SQLITE = "sqlite:///"


def check_loggers(entries: Mapping[str, DictConfig | None]) -> None:
    """Check that the packages of the loggers of a config are there, and that MLflow takes the store.

    Raises:
        UserError: naming the extra to install, or another store.
    """
    for name, entry in entries.items():
        package, _ = SERVICES.get(str(entry.get("_target_")), ("", "")) if entry is not None else ("", "")
        if package and find_spec(package) is None:
            raise UserError(
                f"logger.{name} needs {package}: pip install -e '.[{package}]' in the source tree, else "
                f"pip install {package if package == 'wandb' else 'mlflow-skinny'}"
            )
        uri = str(entry.get("tracking_uri")) if package == "mlflow" and entry is not None else ""
        if uri.startswith("file:") and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("true", "1"):
            raise UserError(
                f"logger.{name}.tracking_uri is {uri}, a store of plain files, which MLflow 3 refuses; name an SQLite "
                "file, sqlite:///outputs/mlflow.db, or set MLFLOW_ALLOW_FILE_STORE=true in the environment."
            )


def build_loggers(
    entries: Iterable[DictConfig | None], step: int | None, versions: Mapping[str, str] | None = None
) -> list[Logger]:
    """The loggers of a config.

    Args:
        entries: their configs; None for one that was switched off.
        step: the optimiser step that a resumed run goes on from, None for a new run. What a run in the same folder
            logged from there on is dropped.
        versions: by which names services know a run that goes on, by the class of the logger.

    Raises:
        UserError: for a config that makes no logger.
    """
    chosen = [_located(entry, versions or {}) for entry in entries if entry is not None]
    if step is None:
        return [_logger(entry) for entry in chosen]
    loggers: list[Logger] = []
    for entry in chosen:
        if issubclass(get_class(entry._target_), TensorBoardLogger):
            # TensorBoard reads event files in the order of the seconds in which they were begun
            time.sleep(1.0)
            loggers.append(_logger(entry, purge_step=step))
        else:
            loggers.append(_logger(entry))
        if isinstance(loggers[-1], CSVLogger):
            _log_again(loggers[-1], step)
    return loggers


def _logger(entry: DictConfig, **options: Any) -> Logger:
    logger = instantiate(entry, **options)
    if not isinstance(logger, Logger):
        raise UserError(f"logger: {entry._target_} makes no logger of Lightning; choose logger=NAME.")
    return logger


def _located(entry: DictConfig, versions: Mapping[str, str]) -> DictConfig:
    """The config of a logger with the name of a run that goes on, and a folder for MLflow's pictures."""
    entry, target = entry.copy(), str(entry.get("_target_"))
    OmegaConf.set_struct(entry, False)
    _, option = SERVICES.get(target, ("", ""))
    name = versions.get(target.rpartition(".")[2])
    if option and name is not None:
        entry[option] = name
    uri = str(entry.get("tracking_uri"))
    if uri.startswith(SQLITE) and entry.get("artifact_location") is None:
        database = Path(uri.removeprefix(SQLITE)).absolute()
        database.parent.mkdir(parents=True, exist_ok=True)
        # MLflow's own choice is a folder wherever the user stands
        entry.artifact_location = str(database.with_name("mlruns"))
    return entry


@rank_zero_only
def log_settings(logger: Logger, settings: dict[str, Any]) -> None:
    """Tell a service what decides a result, before the training, so that a run that fails has it as well."""
    if isinstance(logger, MLFlowLogger | WandbLogger):
        logger.log_hyperparams(settings)


@rank_zero_only
def log_final(logger: Logger, measures: dict[str, float]) -> None:
    """Tell a service the measures of the model that was kept, which are not those of the last epoch."""
    if isinstance(logger, MLFlowLogger):
        logger.log_metrics({f"final/{name}": value for name, value in measures.items()})
    elif isinstance(logger, WandbLogger):
        logger.experiment.summary.update({f"final/{name}": value for name, value in measures.items()})


@rank_zero_only
def close_loggers(loggers: Iterable[Logger]) -> None:
    """End the runs of Weights & Biases, which the next training in this process would go on with."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and logger._experiment is not None:
            logger.experiment.finish()


@rank_zero_only
def _log_again(logger: CSVLogger, step: int) -> None:
    """Log the rows before ``step`` again, since Lightning's logger starts an empty file."""
    path = Path(logger.log_dir, "metrics.csv")
    try:
        rows = _rows(path)
    except MissingFileError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the file is removed
        for at, measures in rows:
            if at < step:
                logger.log_metrics(measures, at)
        logger.save()


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Step and measures of each row of a table of measures; other rows, as one that was cut short, are left out.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for what is no plain file, or no text.
    """
    text, found, wrong = read_text(path), [], 0
    try:
        for row in csv.DictReader(text.splitlines()):
            at = row.pop("step", None) or ""
            # more cells than names are under None
            if re.fullmatch("[0-9]{1,18}", at) and all(map(_is_measure, row.items())):
                found.append((int(at), {name: value for name, value in row.items() if value}))
            else:
                wrong += 1
    except csv.Error as error:
        log.warning("%s: is no table of measures from row %d on (%s).", path, len(found) + wrong + 1, error)
    if wrong:
        log.warning("%s: %d rows are no measures of a step; they are left out.", path, wrong)
    return found


def _is_measure(cell: tuple[Any, Any]) -> bool:
    name, value = cell
    try:
        return isinstance(name, str) and name.isprintable() and (not value or float(value) is not None)
    except (TypeError, ValueError):
        return False
