"""From a composed config to a trained, tested and recorded model."""

from __future__ import annotations

import logging
import platform
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig, open_dict

from cvae import __version__, recipe
from cvae.callbacks import Continuation
from cvae.checks import check_numbers
from cvae.config import flatten, plain
from cvae.data import LineTriples
from cvae.files import write_json
from cvae.generation import Plan, generate
from cvae.loggers import build_loggers
from cvae.module import CVAE, TERMS
from cvae.problems.reference import has_isolated_solutions
from cvae.report import print_summary
from cvae.runs.checkpoint_files import WholeCheckpoints, step_of
from cvae.runs.folder import FINISHED, RESULT, Start, identify, mark_running, timestamp
from cvae.runs.ranks import rank

log = logging.getLogger(__name__)

LOWER_IS_BETTER = {*TERMS, "rmse"}

# groups of the config that decide a result
DECISIVE = ("seed", "data", "recipe", "model", "loss", "optimizer", "scheduler", "generation", "evaluation", "trainer")

# of Lightning, about nothing that a user could mend: its own call of a deprecated function, measures that are reduced
# over the processes already, steps between logs where logs are per epoch, the checkpoints of a run that goes on
NOISE = (
    ".*LeafSpec.*",
    ".*sync_dist=True.*",
    ".*smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
)


def train(
    cfg: DictConfig,
    run_dir: Path,
    overrides: list[str] | None = None,
    callbacks: Sequence[Callback] = (),
    start: Start | None = None,
) -> float:
    """Train, test and record one model.

    Args:
        cfg: the composed config.
        run_dir: the run's own folder; nothing is written elsewhere.
        overrides: what the user changed, for the record.
        callbacks: further ones, beside those of the config.
        start: where to go on; None begins at the beginning, whatever the folder holds.

    Returns:
        The value of ``cfg.optimized_metric`` for the model that was kept.

    Raises:
        ValueError: for a config that makes no sense; the message names the entry.
    """
    started = time.time()
    check_numbers(cfg)
    start = start or Start(identify(settings_of(cfg)))
    # Lightning resolves links, and paths below the folder must stay so
    run_dir = run_dir.resolve()
    with open_dict(cfg):
        cfg.run_dir = str(run_dir)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    data, model = build(cfg)
    if cfg.trainer.get("compile", False):
        model.compile_training()
    continuation = Continuation()
    own = [instantiate(entry) for entry in cfg.callbacks.values() if entry is not None]
    loggers = build_loggers(cfg.logger.values(), step_of(start.checkpoint))
    trainer = build_trainer(cfg, run_dir, [*own, *callbacks, continuation], loggers)
    settings = settings_of(cfg)
    plan = generation_plan(cfg)
    # searched before the clock of the training starts; later calls find them in the cache
    data.references("validation")
    if rank() == 0:
        mark_running(run_dir, start, settings, overrides)
    with quiet():
        fit_started = time.time()
        trainer.fit(model, datamodule=data, ckpt_path=start.checkpoint, weights_only=True)
        fit_s = continuation.earlier_s + time.time() - fit_started
        kept = kept_checkpoint(trainer)
        # none are new where all epochs had been done
        measures = continuation.measures | {name: float(value) for name, value in trainer.callback_metrics.items()}
        measures |= kept_measures(trainer, model, data, kept)
        if cfg.test:
            trainer.test(model, datamodule=data, ckpt_path=kept, verbose=False, weights_only=True)
            measures |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    if trainer.is_global_zero:
        if plan is not None and cfg.test:
            measures |= generated_measures(model, data, plan)
        _log_hyperparameters(trainer, settings, measures, cfg.optimized_metric)
        result = {
            "status": FINISHED,
            "optimized_metric": cfg.optimized_metric,
            "value": measures[cfg.optimized_metric],
            "measures": measures,
            "checkpoint": str(Path(kept).relative_to(run_dir)) if kept else None,
            "seed": cfg.seed,
            "overrides": overrides or [],
            "duration_s": round(continuation.earlier_s + time.time() - started, 2),
            "fit_s": round(fit_s, 2),
            "resumed": continuation.resumed,
            "finished": timestamp(),
            "versions": versions(),
            "config_hash": start.config_hash,
            "config": settings,
        }
        write_json(run_dir / RESULT, result)
        print_summary(measures, run_dir, kept)
    return measures[cfg.optimized_metric]


def build_trainer(cfg: DictConfig, run_dir: Path, callbacks: list[Callback], loggers: list[Logger]) -> Trainer:
    """The trainer that ``cfg`` describes."""
    settings = cfg.trainer.copy()
    with open_dict(settings):
        settings.pop("compile", None)  # for the model
    plugins = [*(instantiate(plugin) for plugin in cfg.trainer.get("plugins") or ()), WholeCheckpoints()]
    trainer: Trainer = instantiate(
        settings, callbacks=callbacks, logger=loggers or False, plugins=plugins, default_root_dir=run_dir
    )
    return trainer


def build(cfg: DictConfig) -> tuple[LineTriples, CVAE]:
    """The data and the untrained model that ``cfg`` describes; sets ``cfg.data.directions`` to what the data show.

    Raises:
        ValueError: for a config that makes no sense; the message names the entry.
    """
    asked = plain(cfg.recipe)
    recipe.apply(cfg)
    data: LineTriples = instantiate(cfg.data)
    found = list(data.problem.geometry.directions)
    if found != list(cfg.data.directions):
        # a file may show other directions than the config: what follows from them is decided for those
        cfg.data.directions, cfg.recipe = found, asked
        recipe.apply(cfg)
        data = instantiate(cfg.data)
    recipe.choose_model(cfg)
    model = build_model(cfg, data.problem.config)
    known = measured_here(data, model)
    if cfg.optimized_metric == "auto":
        cfg.optimized_metric = headline(known, cfg.recipe.separate)
    if cfg.optimized_metric not in known:
        raise ValueError(
            f"optimized_metric is {cfg.optimized_metric!r}, which is not measured; "
            f"choose one of {', '.join(sorted(known))}."
        )
    if cfg.optimized_mode == "auto":
        cfg.optimized_mode = "min" if str(cfg.optimized_metric).split("/")[-1] in LOWER_IS_BETTER else "max"
    elif cfg.optimized_mode not in ("max", "min"):
        raise ValueError(f"optimized_mode is {cfg.optimized_mode!r}; it must be max, min or auto.")
    return data, model


def measured(model: CVAE) -> set[str]:
    """Names of what training and validation measure of ``model``."""
    terms = {f"{stage}/{term}" for stage in ("train", "val") for term in TERMS}
    extra = {"train/lr", "val/active_units", "val/information", "val/coverage_ratio", "val/mode_recall"}
    return terms | extra | {str(name) for name in model.val_metrics.keys(keep_base=False)}


def measured_here(data: LineTriples, model: CVAE) -> set[str]:
    """Names of what is measured of ``model`` on the problem of ``data``."""
    known = measured(model)
    if not data.evaluation["references"]:
        return known - {"val/coverage_ratio", "val/mode_recall"}
    # as the reference sets have it, whatever a config says of the problem
    return known - ({"val/coverage_ratio"} if has_isolated_solutions(data.problem) else {"val/mode_recall"})


def headline(known: Iterable[str], separate: bool) -> str:
    """The measure that tells most of a model.

    Where solutions are separate, all draws of a ``y`` are hardly ever valid at once: ``val/score`` stays near 0.

    Args:
        known: names of what is measured.
        separate: whether the model is made for exact solutions that are isolated points.
    """
    if "val/mode_recall" in known:
        return "val/mode_recall"
    return "val/valid" if separate else "val/score"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of Lightning that help nobody."""
    with warnings.catch_warnings():
        for message in NOISE:
            warnings.filterwarnings("ignore", message=message)
        yield


def build_model(cfg: DictConfig, problem: dict[str, Any]) -> CVAE:
    """The untrained model that ``cfg`` describes, for a problem as plain data."""
    config = {
        "problem": problem,
        "model": plain(cfg.model),
        "loss": plain(cfg.loss),
        "evaluation": plain(cfg.evaluation),
    }
    optimizer, schedule = instantiate(cfg.optimizer), instantiate(cfg.scheduler)
    return CVAE.from_config(config, optimizer=optimizer, schedule=schedule, seed=cfg.seed)


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


def kept_measures(trainer: Trainer, model: CVAE, data: LightningDataModule, kept: str | None) -> dict[str, float]:
    """Validation measures of the model that is kept (those of the last epoch may describe another)."""
    # without loggers: their curves show the training, and this is no further epoch of it
    loggers, trainer.loggers = trainer.loggers, []
    found = trainer.validate(model, datamodule=data, ckpt_path=kept, verbose=False, weights_only=True)
    trainer.loggers = loggers
    return {name: float(value) for name, value in found[0].items()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    packages = ("torch", "lightning", "hydra-core", "torchmetrics", "numpy")
    return {"python": platform.python_version(), "cvae": __version__} | {name: version(name) for name in packages}


def generation_plan(cfg: DictConfig) -> Plan | None:
    """The plan that ``cfg.generation`` describes if it goes beyond plain draws, which validation and test make anyway.

    Raises:
        ValueError: for values that make no sense.
    """
    values = {name: value for name, value in plain(cfg.generation).items() if name != "draws"}
    plan = Plan(**values)
    if plan.drawn > plan.count or plan.refine_steps > 0:
        return plan
    if plan.temperature is not None:
        raise ValueError(
            f"generation.temperature is {plan.temperature}, but a training makes plain draws with "
            "evaluation.temperature: set that one, or a plan such as generation=complete."
        )
    return None


def generated_measures(model: CVAE, data: LineTriples, plan: Plan) -> dict[str, float]:
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


def _log_hyperparameters(trainer: Trainer, settings: dict[str, Any], measures: dict[str, float], first: str) -> None:
    """Fill the HPARAMS tab of TensorBoard: what decides a result, and the measures with ``first`` in front."""
    decisive = flatten({group: settings[group] for group in DECISIVE if group in settings})
    chosen = {name: measures[name] for name in (first, *measures) if name.startswith(("val/", "test/"))}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(decisive, metrics={f"final/{name}": value for name, value in chosen.items()})
            # Lightning wrote it, empty, at the start
            Path(logger.log_dir, logger.NAME_HPARAMS_FILE).unlink(missing_ok=True)
            logger.save()
