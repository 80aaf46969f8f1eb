"""What is refused in a config before a run begins: wrong names, types and values."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.profilers import Profiler
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from cvae.config import flatten, plain
from cvae.errors import UserError, innermost
from cvae.generation import Plan
from cvae.models import Evaluation
from cvae.optimizers import LARGEST
from cvae.runs.folder import LAST
from cvae.runs.options import check_entries, check_options, imported
from cvae.seeds import check_seed

AUTO = "auto"
#: entries of Lightning's Trainer of which ``auto`` is a value
TRAINER_AUTO = ("trainer.accelerator", "trainer.devices", "trainer.strategy")
#: what is made of one ``_target_``, and what holds several of them
BUILT, COLLECTED = ("data", "model", "loss", "optimizer", "scheduler"), ("callbacks", "logger")
#: smallest values that no constructor knows of
LEAST = {
    "threads": 1,
    "optimizer.alpha": 0,
    "optimizer.dampening": 0,
    "optimizer.eps": 0,
    "optimizer.momentum": 0,
    "optimizer.weight_decay": 0,
    "trainer.accumulate_grad_batches": 1,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.fast_dev_run": 0,
    "trainer.gradient_clip_val": 0,
    "trainer.log_every_n_steps": 0,
    "trainer.max_epochs": -1,
    "trainer.max_steps": -1,
    "trainer.min_epochs": 0,
    "trainer.min_steps": 0,
    "trainer.num_nodes": 1,
    "trainer.num_sanity_val_steps": -1,
    "trainer.overfit_batches": 0,
    "trainer.reload_dataloaders_every_n_epochs": 0,
    "callbacks.checkpoint.every_n_epochs": 1,
    "callbacks.last.every_n_epochs": 1,
    "callbacks.progress.refresh_rate": 0,
    "callbacks.stop.patience": 0,
    "logger.csv.flush_logs_every_n_steps": 1,
}
#: largest values; more could only be a slip, which no memory holds
MOST = {
    "threads": 1024,
    "optimizer.lr": LARGEST,
    "data.source.train": 10**9,
    "data.source.validation": 10**9,
    "data.source.test": 10**9,
    "generation.draws": 10**6,
    "evaluation.draws": 10**6,
}
#: averages of gradients, which would grow without end
BELOW_ONE = ("optimizer.alpha", "optimizer.momentum")
#: without training or validation there is nothing to keep; a test is left out by ``test=false``
ABOVE_ZERO = (
    "optimizer.lr",
    "trainer.limit_train_batches",
    "trainer.limit_val_batches",
    "trainer.limit_test_batches",
    "trainer.val_check_interval",
)
#: arguments of Lightning's Trainer that a run gives itself, and the entries that they come from
GIVEN = {"callbacks": "callbacks", "logger": "logger", "default_root_dir": "hydra.run.dir"}
#: of an accelerator: their numbers as text or as a list
DEVICES = re.compile(r"auto|-1|\d+(, *\d+)*,?|\[\d+(, *\d+)*\]", re.ASCII)
#: a number or a time that is zero
NOTHING = re.compile("[0:]+")

#: what ``trainer.precision`` may be, the short names of Lightning last
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")
#: of the callback that keeps the last epoch, whole, where an interrupted run looks for it
RESUMED = {
    "dirpath": "${run_dir}/" + str(LAST.parent),
    "filename": LAST.stem,
    "monitor": None,
    "save_top_k": 1,
    "save_weights_only": False,
    "enable_version_counter": False,
}


class TopEntries(TypedDict):
    """Types of the entries that belong to no group."""

    seed: int
    threads: int | None
    compile: bool
    test: bool
    ckpt_path: str | None
    init_from: str | None


class Optimized(TypedDict):
    """Types of the entries about what is optimized."""

    optimized_metric: str
    optimized_mode: Literal["max", "min"]


def check_composed(cfg: DictConfig) -> None:
    """Check that nothing is left out, and the entries at the top, which others take their values from.

    Raises:
        UserError: for an entry that makes no sense; the message names it.
    """
    raw = OmegaConf.to_container(cfg)
    _check_groups(raw)
    missing = [name for name in _places(raw, MISSING) if name != "run_dir"]
    if missing:
        raise UserError(f"{', '.join(missing)} must be set, for example with {missing[0]}=...; there is no default.")
    top = {name: plain(cfg.get(name)) for name in TopEntries.__annotations__}
    check_entries(top, TopEntries, "")
    for name in ("ckpt_path", "init_from"):
        if top[name] == "":
            raise UserError(f"{name} is empty; name a checkpoint, or null for none.")
    if top["ckpt_path"] is not None and top["init_from"] is not None:
        raise UserError("ckpt_path and init_from are both set; go on with a training, or begin one, not both.")
    check_seed("seed", cfg.seed)


@contextmanager
def clear_interpolations(cfg: DictConfig) -> Iterator[None]:
    """Tell of an interpolation that has no value which entry of ``cfg`` it is."""
    try:
        yield
    except InterpolationResolutionError as error:
        _tell_interpolations(without_folder(cfg))
        raise UserError(f"an interpolation has no value: {error}") from error


def _tell_interpolations(cfg: DictConfig) -> None:
    # the error that omegaconf raises does not always know its entry
    for name, value in flatten(cast(dict[str, Any], OmegaConf.to_container(cfg))).items():
        if "${" in str(value):
            try:
                OmegaConf.select(cfg, name)
            except InterpolationResolutionError as error:
                reason = str(error).partition("\n")[0]
                raise UserError(f"{name} is {value}, which has no value ({reason}); set it.") from error


def _check_groups(values: Any) -> None:
    """Check that groups are mappings, with a ``_target_`` where one thing is built of them."""
    for name in (*BUILT, *COLLECTED, "trainer", "generation", "evaluation", "recipe"):
        value = values.get(name)
        if not isinstance(value, dict) and "${" not in str(value):
            raise UserError(f"{name} is {value}; it must be a mapping, as conf/train.yaml has it.")
        if name in BUILT and isinstance(value, dict) and not isinstance(value.get("_target_"), str):
            raise UserError(
                f"{name}._target_ is {value.get('_target_')}; choose a member of conf/{name}, as {name}=NAME."
            )


def without_folder(cfg: DictConfig) -> DictConfig:
    """A copy of ``cfg`` in which the run's folder is resolved to nothing of importance."""
    copy = cfg.copy()
    copy.run_dir = "."
    return copy


def check_settled(cfg: DictConfig) -> None:
    """Check names and types of all entries of a settled config, and the bounds that no constructor checks.

    Raises:
        UserError: for an entry that makes no sense; the message names it.
    """
    values = plain(without_folder(cfg))
    left = [name for name in _places(values, AUTO) if name not in TRAINER_AUTO and not name.startswith("choices.")]
    if left:
        raise UserError(f"{left[0]} is auto, but nothing says what it should be; set it.")
    check_entries({name: values.get(name) for name in Optimized.__annotations__}, Optimized, "")
    for name in BUILT:
        if "_target_" not in values[name]:
            raise UserError(f"{name} has no _target_; choose a member of conf/{name}, as {name}=NAME.")
        # of an optimizer, the weights are given later
        check_options(values[name] | {"_partial_": True} if name == "optimizer" else values[name], name)
    for name in COLLECTED:
        for key, entry in values[name].items():
            if entry is not None and "_target_" not in (entry if isinstance(entry, dict) else {}):
                raise UserError(f"{name}.{key} is {entry!r}; it must be a mapping with _target_, or null.")
        check_options(values[name], name)
    check_options(values["trainer"] | {"_partial_": True}, "trainer")
    # the plan first: the evaluation takes its draws from there
    check_entries(values["generation"], Plan, "generation")
    check_entries(values["evaluation"], Evaluation, "evaluation")
    _check_bounds(flatten(values))
    _check_trainer(values["trainer"])
    _check_share(values["trainer"].get("limit_train_batches"), values["data"])
    _check_optimizer(values["optimizer"], on_cpu=values["trainer"].get("accelerator") == "cpu")
    _check_schedule(values["scheduler"])
    _check_folders(OmegaConf.to_container(cfg, resolve=False))


def _check_bounds(flat: Mapping[str, Any]) -> None:
    bounds = [(name, f"at least {least}", float(least), math.inf) for name, least in LEAST.items()]
    bounds += [(name, f"at most {most}", -math.inf, float(most)) for name, most in MOST.items()]
    bounds += [(name, "above 0", math.ulp(0.0), math.inf) for name in ABOVE_ZERO]
    bounds += [(name, "below 1", -math.inf, math.nextafter(1.0, 0.0)) for name in BELOW_ONE]
    for name, words, least, most in bounds:
        value = flat.get(name)
        if isinstance(value, int | float) and not least <= value <= most:
            raise UserError(f"{name} is {value}; it must be {words}.")


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    """Refuse what a run gives the trainer itself, and a training without an end, over which no schedule of the learning
    rate can be laid."""
    made = imported(trainer.get("_target_"), "trainer")
    if not (inspect.isclass(made) and issubclass(made, Trainer)):
        raise UserError(f"trainer._target_ is {trainer.get('_target_')}; it must be lightning.Trainer.")
    for name, entry in GIVEN.items():
        if name in trainer:
            raise UserError(f"trainer.{name} is {trainer[name]}, but a run takes it from {entry}; set that instead.")
    devices = trainer.get("devices", AUTO)
    counted = isinstance(devices, int) and (devices == -1 or devices > 0)
    if not counted and not (devices and DEVICES.fullmatch(str(devices))):
        raise UserError(
            f"trainer.devices is {devices!r}; it must be how many, at least 1, -1 for all of an accelerator, a list of "
            "their numbers, or auto."
        )
    precision = trainer.get("precision")
    if precision is not None and str(precision) not in PRECISIONS:
        raise UserError(
            f"trainer.precision is {precision}; samples of a latent and solutions are in single precision, so it "
            f"must be one of {', '.join(PRECISIONS)}."
        )
    epochs = trainer.get("max_epochs")
    if epochs in (-1, None) and trainer.get("max_steps", -1) == -1:
        raise UserError(f"trainer.max_epochs is {epochs}, a training without an end; set it, or +trainer.max_steps=N.")
    for name in ("max_epochs", "max_steps", "max_time", "val_check_interval"):
        value = trainer.get(name)
        if isinstance(value, Mapping):
            nothing = not any(value.values()) or min(value.values()) < 0
        else:
            nothing = NOTHING.fullmatch(str(value)) is not None
        if nothing:
            what = "no time between validations" if name == "val_check_interval" else "which trains nothing"
            raise UserError(f"trainer.{name} is {value}, {what}; give more.")


def _check_share(limit: Any, data: Mapping[str, Any]) -> None:
    """Check that a share of the batches of an epoch is one at least, where it is known how many there are."""
    pairs, size = (data.get("source") or {}).get("train"), data.get("batch_size")
    if isinstance(limit, float) and isinstance(pairs, int) and isinstance(size, int) and size > 0:
        batches = math.ceil(pairs / size)
        if limit * batches < 1:
            raise UserError(
                f"trainer.limit_train_batches is {limit}, less than one of {batches} batches; give a larger share, or "
                "a whole number of batches."
            )


def _check_optimizer(config: Mapping[str, Any], *, on_cpu: bool) -> None:
    """Let torch check the options, on the CPU also in a step of a dummy parameter."""
    if config.get("_partial_") is not True:
        raise UserError(
            f"optimizer._partial_ is {config.get('_partial_')}; it must be true, since the weights are given later."
        )
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    try:
        made = instantiate(config)([weight])
        if on_cpu and isinstance(made, torch.optim.Optimizer):
            made.step(lambda: 0.0)
    except UserError:
        raise
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        options = ", ".join(f"{name}={value}" for name, value in config.items() if not str(name).startswith("_"))
        raise UserError(f"optimizer: {options} cannot be used ({str(error).rstrip('.')}).") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"optimizer._target_ is {config['_target_']}, which is no optimizer; choose optimizer=NAME.")


def _check_schedule(config: Mapping[str, Any]) -> None:
    """See that the schedule gives a factor for a share of training."""
    try:
        schedule = instantiate(config)
    except InstantiationException as error:
        if isinstance(innermost(error), UserError):
            raise
        raise UserError(f"scheduler: {innermost(error)}.") from error
    try:
        float(schedule(0.0))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"scheduler._target_ is {config['_target_']}, which gives no factor of the learning rate for a share of "
            "training, as those of cvae.losses do; choose scheduler=NAME."
        ) from error


def _check_folders(raw: Any) -> None:
    """Keep what a run writes over within its folder, and the last epoch where an interrupted run looks for it."""
    places = {f"{group}.{name}": entry for group in COLLECTED for name, entry in raw[group].items()}
    for place, entry in (places | {"trainer.profiler": raw["trainer"].get("profiler")}).items():
        if isinstance(entry, dict) and _is_confined(entry.get("_target_"), place):
            _check_place(entry, place)
    last = raw["callbacks"].get("last") or {}
    for name, value in RESUMED.items():
        if name in last and last[name] != value:
            raise UserError(
                f"callbacks.last.{name} is {last[name]}; it must be {value}, since an interrupted run goes on from "
                f"{LAST}. Further checkpoints are entries of their own beside it."
            )


def _is_confined(target: Any, place: str) -> bool:
    """Whether what is made replaces files; one folder of logs may be shared by the runs of a user."""
    made = imported(target, place)
    replaces = inspect.isclass(made) and issubclass(made, Checkpoint | CSVLogger | Profiler)
    return replaces or target.startswith("cvae.")


def _check_place(entry: Mapping[str, Any], place: str) -> None:
    made = imported(entry["_target_"], place)
    kept = inspect.isclass(made) and issubclass(made, ModelCheckpoint)
    for key in ("dirpath", "save_dir"):
        folder = entry.get(key)
        if folder is None:
            # a checkpoint without a folder would go where the first logger writes
            if key == "dirpath" and kept:
                raise UserError(f"{place}.{key} must be set; begin it with ${{run_dir}}.")
            continue
        parts = Path(str(folder)).parts
        if parts[:1] != ("${run_dir}",) or ".." in parts:
            raise UserError(
                f"{place}.{key} is {folder}, outside of the run's folder; begin it with ${{run_dir}}, and choose that "
                "folder with hydra.run.dir=..."
            )
    for key in ("filename", "name", "version"):
        name = str(entry.get(key))
        if Path(name).is_absolute() or ".." in Path(name).parts or "${" in name:
            raise UserError(f"{place}.{key} is {name}, which leads out of the run's folder; give a plain name.")


def _places(values: Any, word: str, where: str = "") -> Iterator[str]:
    """Names of the entries that are ``word``."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _places(value, word, f"{where}.{key}" if where else str(key))
    elif values == word:
        yield where
