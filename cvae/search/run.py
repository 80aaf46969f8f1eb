"""From the composed config of ``scripts/tune.py`` to a finished study."""

from __future__ import annotations

import contextlib
import logging
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from cvae.config import plain
from cvae.errors import check_writable, clear_disk_errors
from cvae.search.definition import Definition, define
from cvae.search.overrides import read_overrides
from cvae.search.report import report
from cvae.search.sampler import SeededByTrial
from cvae.search.storage import open_storage, open_study
from cvae.search.study import Limits, counted, search


def run_search(cfg: DictConfig, space: str) -> None:
    """Create or join a study, run trials, report.

    Args:
        cfg: the config ``tune``.
        space: name of the chosen search, for the name of the study.

    Raises:
        ValueError: for anything that the user should mend; nothing was tried then.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    limits = Limits(cfg.trials, cfg.timeout, cfg.interval, cfg.checkpoints)
    if not isinstance(cfg.seed, int) or isinstance(cfg.seed, bool) or cfg.seed < 0:
        raise ValueError(f"seed is {cfg.seed!r}; it must be a whole number, at least 0.")
    sampler = SeededByTrial(_maker(cfg), cfg.seed)
    pruner = _made(cfg.search.pruner, "search.pruner", BasePruner)
    definition = define(cfg.search, plain(cfg.overrides))
    name = cfg.study or f"{_data(definition)}-{space}"
    if "/" in name or name.startswith("."):
        raise ValueError(f"study is {name!r}; it names a folder, and may hold no / and not begin with a dot.")
    folder = Path(cfg.out, name)
    check_writable(folder)
    storage = open_storage(folder, cfg.storage)
    study = open_study(storage, name, definition, sampler, pruner, folder)
    print(
        f"study {name} in {folder}: {definition.mode} {definition.metric}, {counted(study)} of {limits.trials} trials"
    )
    try:
        with clear_disk_errors(folder):
            search(study, storage, definition, folder, limits, partial(print, flush=True))
    except BaseException:
        # what ended the search is to be seen, not what the report then meets
        with contextlib.suppress(Exception):
            report(study, definition, folder, cfg.seed)
        raise
    report(study, definition, folder, cfg.seed)


def _maker(cfg: DictConfig) -> Any:
    """From a seed to the sampler that the config names, tried once."""

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            made: BaseSampler = _made(cfg.search.sampler, "search.sampler", BaseSampler, seed=seed)
        return made

    make(0)
    return make


def _made(config: DictConfig, where: str, kind: type, **arguments: Any) -> Any:
    try:
        made = instantiate(config, **arguments)
    except Exception as error:  # whatever its constructor raises
        raise ValueError(f"{where}: {str(error.__cause__ or error).splitlines()[0]}") from error
    if not isinstance(made, kind):
        raise ValueError(f"{where} is {plain(config)!r}; it must name one of Optuna's, _target_: optuna....")
    return made


def _data(definition: Definition) -> str:
    chosen = [item.value() for item in read_overrides(list(definition.fixed)) if item.key_or_group == "data"]
    if chosen:
        return str(chosen[-1])
    return str(hydra.compose("train", return_hydra_config=True).hydra.runtime.choices["data"])
