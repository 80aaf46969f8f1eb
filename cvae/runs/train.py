"""From a composed config to a trained, tested and recorded model."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig

from cvae.config import plain
from cvae.data import PairData
from cvae.errors import UserError, innermost
from cvae.files import write_json
from cvae.generation import Plan, generate
from cvae.models import Generative, Training
from cvae.runs.board import Board
from cvae.runs.checkpoint_files import WholeCheckpoints
from cvae.runs.continuation import Continuation, versions
from cvae.runs.folder import FINISHED, RESULT, Start, check_there, decisive, mark_running, timestamp
from cvae.runs.loggers import build_loggers, close_loggers, log_final, log_settings
from cvae.runs.ranks import rank
from cvae.show.pictures import publish
from cvae.show.tables import print_summary
from cvae.tasks import Problem

log = logging.getLogger(__name__)

# of Lightning, about nothing that a user could mend: its own call of a deprecated function, measures that are reduced
# over the processes already, steps between logs where logs are per epoch, the checkpoints of a run that goes on
NOISE = (
    ".*LeafSpec.*",
    ".*sync_dist=True.*",
    ".*smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
)


class Present(Callback):
    """Ends a training whose folder is removed, before something is written that would make it anew."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that the folder is there."""
        if trainer.is_global_zero:
            check_there(self.run_dir)


def train(
    cfg: DictConfig,
    run_dir: Path,
    start: Start,
    overrides: list[str] | None = None,
    callbacks: Sequence[Callback] = (),
) -> float:
    """Train, test and record one model.

    Args:
        cfg: the settled config; it is not changed.
        run_dir: the run's own folder; nothing is written elsewhere.
        start: the run's identity, and where to go on.
        overrides: what the user changed, for the record.
        callbacks: further ones, beside those of the config.

    Returns:
        The value of ``cfg.optimized_metric`` for the model that was kept.

    Raises:
        UserError: for a config that makes no sense; the message names the entry.
    """
    try:
        with ExitStack() as closing:
            return _train(cfg, run_dir, start, overrides, callbacks, closing)
    except SIGTERMException:
        # Lightning's is a SystemExit with status 0
        raise SystemExit(128 + signal.SIGTERM) from None


def _train(
    cfg: DictConfig,
    run_dir: Path,
    start: Start,
    overrides: list[str] | None,
    callbacks: Sequence[Callback],
    closing: ExitStack,
) -> float:
    started = time.monotonic()
    # Lightning resolves links, and paths below the folder must stay so
    run_dir = run_dir.resolve()
    settings = settings_of(cfg)
    cfg = cfg.copy()
    cfg.run_dir = str(run_dir)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    data, model = build(cfg, resumed=start.checkpoint is not None)
    continuation = Continuation(start.config_hash)
    own = build_callbacks(cfg, run_dir)
    # Lightning would only put dummies in their place, after a service has made its database
    entries = () if cfg.trainer.get("fast_dev_run") else cfg.logger.values()
    loggers = build_loggers(entries, start.step, start.loggers)
    closing.callback(close_loggers, loggers)
    trainer = build_trainer(cfg, run_dir, [*own, *callbacks, continuation, Present(run_dir)], loggers)
    plan = generation_plan(cfg)
    # what takes long of them is done before the clock of the training starts; later calls find it in the cache
    data.measures("validation", cfg.evaluation.draws)
    if rank() == 0:
        mark_running(run_dir, start, settings, overrides)
    for logger in loggers:
        log_settings(logger, decisive(settings))
        if isinstance(logger, Board):
            logger.log_run(settings, overrides or [])
    pairs = [len(split.x) for split in data.splits]
    log.info("training on %d pairs (validation %d, test %d), up to epoch %s.", *pairs, cfg.trainer.get("max_epochs"))
    checkpoint = start.checkpoint or cfg.get("ckpt_path")
    fit_s, kept, measures = _fit(trainer, model, data, checkpoint, continuation, test=cfg.test)
    if trainer.is_global_zero:
        if cfg.test:
            measures |= _final_measures(trainer, model, data, plan)
        for logger in loggers:
            log_final(logger, measures)
        result = {
            "status": FINISHED,
            "optimized_metric": cfg.optimized_metric,
            "optimized_mode": cfg.optimized_mode,
            "value": measures[cfg.optimized_metric],
            "measures": measures,
            "checkpoint": str(Path(kept).relative_to(run_dir)) if kept else None,
            "seed": cfg.seed,
            "overrides": overrides or [],
            "duration_s": round(continuation.earlier_s + time.monotonic() - started, 2),
            "fit_s": round(continuation.earlier_s + fit_s, 2),
            "resumed": continuation.resumed,
            "finished": timestamp(),
            "versions": versions(),
            "config_hash": start.config_hash,
            "config": settings,
        }
        check_there(run_dir)
        write_json(run_dir / RESULT, result)
        # from Python, a training is quiet unless it is asked to talk
        if logging.getLogger("cvae").level <= logging.INFO:
            print_summary(measures, run_dir, kept, data.task)
    return measures[cfg.optimized_metric]


def _fit(
    trainer: Trainer,
    model: Generative,
    data: PairData,
    checkpoint: Path | str | None,
    continuation: Continuation,
    *,
    test: bool,
) -> tuple[float, str | None, dict[str, float]]:
    """Seconds of training, path of the checkpoint that is kept, and measures of its model."""
    with quiet():
        started = time.monotonic()
        try:
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException:
            # Lightning's is a SystemExit with status 0
            raise SystemExit(128 + signal.SIGTERM) from None
        seconds = time.monotonic() - started
        if trainer.should_stop:
            log.info("a callback ended the training after epoch %d.", trainer.current_epoch)
        kept = kept_checkpoint(trainer)
        # none are new where all epochs had been done
        measures = continuation.measures | {name: float(value) for name, value in trainer.callback_metrics.items()}
        measures |= kept_measures(trainer, model, data, kept)
        if test:
            trainer.test(model, datamodule=data, ckpt_path=kept, verbose=False, weights_only=True)
            measures |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    return seconds, kept, measures


def _final_measures(trainer: Trainer, model: Generative, data: PairData, plan: Plan | None) -> dict[str, float]:
    """What is measured once, of the model that is kept: the stages of a plan, and the report of the data."""
    measures: dict[str, float] = {}
    if plan is not None and isinstance(data.task, Problem):
        measures |= generated_measures(model, data, plan)
    report = data.report(model.eval())
    publish(trainer, report.figures, ordered=False)
    return measures | {f"test/{name}": value for name, value in report.measures.items()}


def build(cfg: DictConfig, resumed: bool = False) -> tuple[PairData, Generative]:
    """The data and the untrained model that a settled ``cfg`` describes; if it is ``resumed``, its own checkpoint has
    the weights, and those of ``init_from``, which may be gone, are not read.

    Raises:
        UserError: for a value out of bounds; the message names the entry.
    """
    data: PairData = instantiate(cfg.data, _convert_="all")
    config = {"task": data.task.config} | {name: plain(cfg[name]) for name in ("model", "loss", "evaluation")}
    training = Training(instantiate(cfg.optimizer), instantiate(cfg.scheduler))
    model = Generative.from_config(config, data.task, training, cfg.seed)
    if cfg.get("init_from") is not None and not resumed:
        model.initialize(cfg.init_from)
    if cfg.compile:
        model.compile_training()
    return data, model


def build_callbacks(cfg: DictConfig, run_dir: Path) -> list[Callback]:
    """The callbacks that a settled ``cfg`` describes, for a run in ``run_dir``; nothing is written.

    Raises:
        UserError: for a value out of bounds; the message names the entry.
    """
    cfg = cfg.copy()
    cfg.run_dir = str(run_dir)
    return [_callback(str(name), entry) for name, entry in cfg.callbacks.items() if entry is not None]


def _callback(name: str, entry: DictConfig) -> Callback:
    try:
        callback: Callback = instantiate(entry)
    except InstantiationException as error:
        cause = innermost(error)
        if isinstance(cause, MisconfigurationException):
            raise UserError(f"callbacks.{name}: {cause}") from error
        raise
    if not isinstance(callback, Callback):
        raise UserError(f"callbacks.{name}._target_ is {entry._target_}, which makes no callback of Lightning.")
    return callback


def build_trainer(cfg: DictConfig, run_dir: Path, callbacks: list[Callback], loggers: list[Logger]) -> Trainer:
    """The trainer that ``cfg`` describes, for a run in ``run_dir``; nothing is written.

    Raises:
        UserError: for an accelerator, devices or a strategy that Lightning does not have here.
    """
    cfg = cfg.copy()
    cfg.run_dir = str(run_dir)
    options: dict[str, Any] = {"callbacks": callbacks, "logger": loggers or False, "default_root_dir": run_dir}
    options["plugins"] = [*(instantiate(plugin) for plugin in cfg.trainer.get("plugins") or ()), WholeCheckpoints()]
    if "enable_progress_bar" not in cfg.trainer:
        # Lightning would show a bar of its own in place of one that was switched off
        options["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in callbacks)
    try:
        trainer: Trainer = instantiate(cfg.trainer, _convert_="all", **options)
    except InstantiationException as error:
        # Lightning tells most mistakes by its own kind of error, these by what Python has
        cause = innermost(error)
        if isinstance(cause, ValueError | TypeError | MisconfigurationException):
            raise UserError(_trainer_refusal(cfg.trainer, str(cause))) from error
        raise
    return trainer


def _trainer_refusal(config: DictConfig, reason: str) -> str:
    """What Lightning refuses, with the entries that it is about, else those that choose the device."""
    named = [str(name) for name in config if str(name) in reason]
    named = named or [str(name) for name, value in config.items() if isinstance(value, str) and repr(value) in reason]
    named = named or ["accelerator", "devices", "strategy", "precision"]
    given = ", ".join(f"trainer.{name}={config[name]}" for name in named if name in config)
    return f"trainer: {reason.rstrip('.')} ({given})."


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of Lightning in :data:`NOISE`."""
    with warnings.catch_warnings():
        for message in NOISE:
            warnings.filterwarnings("ignore", message=message)
        yield


def kept_checkpoint(trainer: Trainer) -> str | None:
    """Path of the checkpoint to keep: the best one, or the last if no measure is monitored.

    None where nothing was kept (``fast_dev_run``, or no checkpoint callback).
    """
    found = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    monitored = [callback for callback in found if callback.monitor is not None and callback.best_model_path]
    newest = [callback for callback in found if callback.monitor is None and callback.best_model_path]
    if not monitored:
        return newest[0].best_model_path if newest else None
    return monitored[0].best_model_path


def kept_measures(trainer: Trainer, model: Generative, data: LightningDataModule, kept: str | None) -> dict[str, float]:
    """Validation measures of the model that is kept (those of the last epoch may describe another)."""
    # without loggers: their curves show the training, and this is no further epoch of it
    loggers, trainer.loggers = trainer.loggers, []
    found = trainer.validate(model, datamodule=data, ckpt_path=kept, verbose=False, weights_only=True)
    trainer.loggers = loggers
    return {name: float(value) for name, value in found[0].items()}


def generation_plan(cfg: DictConfig) -> Plan | None:
    """The plan that ``cfg.generation`` describes if it goes beyond plain draws, which validation and test make anyway.

    Raises:
        UserError: for values that make no sense.
    """
    plan = Plan(**plain(cfg.generation))
    if plan.decoded > plan.draws or plan.refine_steps > 0:
        return plan
    if plan.temperature is not None:
        raise UserError(
            f"generation.temperature is {plan.temperature}, but a training makes plain draws with "
            "evaluation.temperature: set that one, or a plan such as generation=complete."
        )
    return None


def generated_measures(model: Generative, data: PairData, plan: Plan) -> dict[str, float]:
    """What each stage of ``plan`` leaves on the test conditions, as ``test/<stage>/<measure>``."""
    y = data.conditions("test").y.to(model.device)
    solutions = generate(model.eval(), model.problem, y, plan)
    names = ("valid", "coverage", "rmse")
    return {f"test/{stage}/{name}": getattr(row, name) for stage, row in solutions.stages.items() for name in names}


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain data without the run's folder, so that runs of the same settings show the same."""
    neutral = cfg.copy()
    neutral.run_dir = "."
    settings: dict[str, Any] = plain(neutral)
    settings.pop("run_dir")
    return settings
