"""One trial: train with proposed values, report each epoch, give up early where that is hopeless."""

from __future__ import annotations

import gc
import json
import math
import time
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import hydra
import optuna
from hydra.errors import ConfigCompositionException
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from omegaconf import open_dict
from optuna.trial import TrialState

from cvae.errors import DiskError, user_message
from cvae.runs.folder import RESULT
from cvae.runs.launch import run
from cvae.search.alive import ERROR
from cvae.search.definition import Definition

MEASURES, SECONDS, OVERRIDES = "measures", "seconds", "overrides"
LOG = "run.log"
#: callbacks that only show something
SILENT = ("figures", "progress", "collapse")


class DivergedError(Exception):
    """The loss of a training is no number any more."""


class EachEpoch(Callback):
    """Reports the optimised measure of each epoch to Optuna, and ends a training that its pruner gives up.

    Args:
        trial: receives the values.
        metric: name of the measure.

    Raises:
        optuna.TrialPruned: from within the training, at the end of an epoch.
        DivergedError: likewise, if the loss is no number.
    """

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self.trial = trial
        self.metric = metric
        self.measures: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # the model that was kept is validated once more after the last epoch
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self.measures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch = trainer.current_epoch + 1
        if not math.isfinite(self.measures["val/loss"]):
            raise DivergedError(f"val/loss is {self.measures['val/loss']} in epoch {epoch}")
        if self.metric in self.measures:
            self.trial.report(self.measures[self.metric], epoch)
            # the last epoch is paid for already
            if epoch < (trainer.max_epochs or 0) and self.trial.should_prune():
                raise optuna.TrialPruned(f"given up after epoch {epoch}")


def run_trial(trial: optuna.Trial, definition: Definition, folder: Path) -> tuple[TrialState, float | None]:
    """Train in ``folder`` and write measures, constraints and errors into the trial.

    Returns:
        How the trial ended, and the optimised measure of the model that was kept if it came to an end.
    """
    started = time.perf_counter()
    each_epoch = EachEpoch(trial, definition.metric)
    state, value, measures = TrialState.FAIL, None, {}
    try:
        overrides = definition.overrides(definition.space.suggest(trial))
        trial.set_user_attr(OVERRIDES, overrides)
        measures = _train(overrides, folder, each_epoch)
        value = measures[definition.metric]
        if not math.isfinite(value):
            raise DivergedError(f"{definition.metric} is {value}")
        state = TrialState.COMPLETE
    except optuna.TrialPruned:
        state, measures = TrialState.PRUNED, each_epoch.measures
    except DivergedError as error:
        # pruned, not failed: proposals learn from the one and forget the other
        state, value, measures = TrialState.PRUNED, None, {}
        trial.set_user_attr(ERROR, f"diverged: {error}")
    except (optuna.exceptions.UpdateFinishedTrialError, DiskError):
        raise  # says nothing about the values
    except Exception as error:
        trial.set_user_attr(ERROR, _told(error, folder))
    finally:
        # a trainer and its callbacks point to each other, and would stay
        gc.collect()
    trial.set_user_attr(SECONDS, round(time.perf_counter() - started, 1))
    trial.set_user_attr(MEASURES, _finite(measures))
    if state != TrialState.FAIL:
        for constraint in definition.constraints:
            trial.set_constraint(str(constraint), constraint.violation(measures))
    return state, value


def _train(overrides: list[str], folder: Path, each_epoch: EachEpoch) -> dict[str, float]:
    cfg = hydra.compose("train", [*overrides, "test=false"])
    with open_dict(cfg):
        for name in SILENT:
            if name in cfg.callbacks:
                cfg.callbacks[name] = None
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("w") as log, redirect_stdout(log):
        run(cfg, folder, overrides, callbacks=[each_epoch])
    measures: dict[str, float | None] = json.loads((folder / RESULT).read_text())["measures"]
    return {name: math.nan if value is None else value for name, value in measures.items()}


def _told(error: Exception, folder: Path) -> str:
    """The error in one line; a bug's stack goes to the trial's folder."""
    message = user_message(error)
    if message is None and isinstance(error, ConfigCompositionException):
        message = str(error)
    if message is not None:
        return message.splitlines()[0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").write_text("".join(traceback.format_exception(error)))
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first} (the stack is in {folder / 'error.txt'})"


def _finite(measures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in measures.items() if name.startswith("val/") and math.isfinite(value)}
