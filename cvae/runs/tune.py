"""Hyperparameter search: an Optuna study whose trials are runs, each in a folder of its own below the study's."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import optuna
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from omegaconf import DictConfig, open_dict
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from cvae.config import plain
from cvae.errors import DiskError, DivergedError, UserError, user_message
from cvae.runs import folder
from cvae.runs.compose import take_choices
from cvae.runs.folder import open_own
from cvae.runs.launch import run
from cvae.runs.locks import FolderInUseError
from cvae.runs.options import check_entries
from cvae.runs.tune_report import ERROR, FIRST, OVERRIDES, best_trial, described, report
from cvae.runs.tune_space import Search, compose, read_search
from cvae.seeds import check_seed

DEFINITION = "definition"
EXAMPLE = "It must be the URL of a database that exists, sqlite:////path/studies.db, with its driver installed."
ANOTHER = "If it is damaged, move it away with its folder, or name another study, study=..."
#: callbacks that only show something
SILENT = ("figures", "progress", "collapse")
#: how often a trial is repeated whose process was killed
RETRIES = 3
#: an error of a trial is recorded as pruned: proposals learn from it. Failed are those that were broken off
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Options(TypedDict):
    """Types of the options that are no search."""

    trials: int
    timeout: float | None
    study: str | None
    out: str
    storage: str | None
    seed: int
    checkpoints: Literal["best", "all", "none"]
    interval: int


class SurplusError(Exception):
    """A trial that two processes began at once, of which one is too many."""


class EachEpoch(Callback):
    """Reports the optimised measure of each epoch to Optuna, and ends a training that its pruner gives up."""

    def __init__(self, trial: optuna.Trial, search: Search) -> None:
        self.trial = trial
        self.search = search
        self.measures: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report an epoch.

        Raises:
            optuna.TrialPruned: if the trial is given up.
            UserError: for a measure of the search that is not measured.
        """
        # the model that was kept is validated once more after the last epoch
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self.measures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metric = self.search.metric
        for name in {metric, *self.search.constraints} - self.measures.keys():
            known = ", ".join(sorted(name for name in self.measures if name.startswith("val/")))
            raise UserError(f"search.metric or search.constraints has {name!r}, which is not measured ({known} are).")
        epoch = trainer.current_epoch + 1
        if not all(math.isfinite(self.measures.get(name, 0.0)) for name in (metric, "val/loss")):
            self.trial.set_user_attr(ERROR, f"diverged in epoch {epoch}")
            self.measures = {}
            raise optuna.TrialPruned
        self.trial.report(self.measures[metric], epoch)
        # the last epoch is paid for already
        if epoch < (trainer.max_epochs or 0) and self.trial.should_prune():
            raise optuna.TrialPruned


@dataclass(frozen=True)
class Objective:
    """What Optuna calls for each trial: trains, and gives the value of the optimised measure.

    Attributes:
        search: what a trial is.
        path: the study's folder.
        trials: that the study shall have.
    """

    search: Search
    path: Path
    trials: int

    def __call__(self, trial: optuna.Trial) -> float:
        """Train with proposed values.

        Raises:
            optuna.TrialPruned: for a trial that is given up or has failed.
            SystemExit: if the process is stopped; the trial is queued again.
        """
        study = trial.study
        everyone = study.get_trials(deepcopy=False)
        frozen = everyone[trial.number]
        if sum(other.state != TrialState.FAIL for other in everyone[: trial.number]) >= self.trials:
            raise SurplusError
        each_epoch = EachEpoch(trial, self.search)
        try:
            measures = self._train(self.search.overrides(trial), frozen, each_epoch)
            self._record(trial, measures)
            return measures[self.search.metric]
        except optuna.TrialPruned:
            self._record(trial, each_epoch.measures)
            raise
        except (KeyboardInterrupt, SystemExit, DiskError, FolderInUseError) as stop:
            # a folder is in use where the process that was thought dead was only suspended
            retry()(study, study.tell(trial, state=TrialState.FAIL))
            reason = f" ({stop})" if isinstance(stop, Exception) else ""
            raise SystemExit(f"stopped in trial {trial.number}{reason}; re-run the same command to resume it") from None
        except DivergedError as error:
            # which proposals learn from, also in the first trial
            trial.set_user_attr(ERROR, str(error))
            self._record(trial, {})
            raise optuna.TrialPruned from error
        except UpdateFinishedTrialError:
            message = f"trial {trial.number} was taken over by another process, after two missed heartbeats of this one"
            raise SystemExit(message) from None
        except Exception as error:
            if FIRST in frozen.user_attrs and not study.get_trials(deepcopy=False, states=ENDED):
                # with the present settings: a mistake in what all trials share
                raise
            trial.set_user_attr(ERROR, user_message(error) or f"{type(error).__name__}: {error}")
            self._record(trial, {})
            raise optuna.TrialPruned from error

    def _train(self, overrides: list[str], frozen: FrozenTrial, each_epoch: EachEpoch) -> dict[str, float]:
        each_epoch.trial.set_user_attr(OVERRIDES, overrides)
        cfg = compose([*overrides, "test=false"], "overrides", return_hydra_config=True)
        take_choices(cfg)
        with open_dict(cfg):
            cfg.callbacks.update({name: None for name in SILENT if name in cfg.callbacks})
        own = folder_of(frozen, self.path)
        own.mkdir(parents=True, exist_ok=True)
        with open_own(own / "run.log") as log, redirect_stdout(log):
            run(cfg, own, overrides, callbacks=[each_epoch])
        measures: dict[str, float | None] = (folder.read(own) or {})["measures"]
        return {name: math.nan if value is None else value for name, value in measures.items()}

    def _record(self, trial: optuna.Trial, measures: dict[str, float]) -> None:
        for name, value in measures.items():
            if name.startswith("val/") and math.isfinite(value):
                trial.set_user_attr(name, value)
        for name, violation in self.search.violations(measures).items():
            trial.set_constraint(name, violation)


def tune(cfg: DictConfig, choice: str) -> optuna.Study:
    """Create, continue or join a study, run trials until it has as many as wanted, and write the report.

    Args:
        cfg: the config ``tune``; Hydra must be initialised on ``conf``.
        choice: name of the search, for the name of the study.

    Raises:
        UserError: for anything that the user should mend.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _check_options(cfg)
    search = read_search(cfg.search, plain(cfg.overrides))
    path = Path(cfg.out, cfg.study or f"{search.data}-{choice}")
    with warnings.catch_warnings(), clear_storage_errors(cfg.storage or path / "study.db"):
        # the heartbeat is one of Optuna's experiments
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = open_storage(path, cfg.storage, cfg.interval)
        study = open_study(storage, path, search, cfg)
        objective = Objective(search, path, cfg.trials)
        try:
            work(study, objective, cfg)
        except Exception:
            states = {trial.state for trial in study.get_trials(deepcopy=False)}
            trained = next((path / "trials").rglob("*.ckpt"), None)
            if trained is None and states <= {TrialState.FAIL, TrialState.WAITING}:
                # nothing was found or trained: the study would only be in the way of the one with the mistake mended
                optuna.delete_study(study_name=study.study_name, storage=storage)
                shutil.rmtree(path / "trials", ignore_errors=True)
            raise
        report(study, search, path)
    return study


def _check_options(cfg: DictConfig) -> None:
    check_entries({name: plain(cfg[name]) for name in Options.__annotations__}, Options, "")
    check_seed("seed", cfg.seed)
    for name, least in (("trials", 0), ("interval", 1), ("timeout", 0)):
        if cfg[name] is not None and cfg[name] < least:
            raise UserError(f"{name} is {cfg[name]}; it must be at least {least}.")
    if cfg.study is not None and (Path(cfg.study).name != cfg.study or cfg.study in ("", "..")):
        raise UserError(f"study is {cfg.study!r}; it must be the name of a folder in {cfg.out}, without a path.")


@contextmanager
def clear_storage_errors(where: str | Path) -> Iterator[None]:
    """Say which database is damaged or full, in place of the stack of its driver."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UserError(
            f"{where}: its study cannot be read or written: {_reason(error)}. Where its disk is full, free some space "
            f"and re-run the same command. {ANOTHER}"
        ) from error


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error).splitlines()[0]


def work(study: optuna.Study, objective: Objective, cfg: DictConfig) -> None:
    """Run trials until the study has as many as wanted, those of other processes included, or time is over."""
    started, waiting = time.monotonic(), False

    def tell(study: optuna.Study, trial: FrozenTrial) -> None:
        if trial.state in ENDED:
            count = len(study.get_trials(deepcopy=False, states=ENDED))
            print(f"{described(trial)}; {count} of {cfg.trials}", flush=True)
            _tidy(study, objective.path, cfg.checkpoints)

    full = MaxTrialsCallback(cfg.trials, states=(*ENDED, TrialState.RUNNING))
    while True:
        fail_stale_trials(study)
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        ended, running = sum(state in ENDED for state in states), states.count(TrialState.RUNNING)
        left = None if cfg.timeout is None else started + cfg.timeout - time.monotonic()
        if ended >= cfg.trials:
            return
        if left is not None and left <= 0:
            print(f"{cfg.timeout:g} s are over; re-run the same command to resume")
            return
        if ended + running < cfg.trials:
            study.optimize(objective, timeout=left, catch=(SurplusError,), callbacks=[tell, full], gc_after_trial=True)
            continue
        if not waiting:
            print(f"waiting for {running} trials of other processes, to take over those that are killed", flush=True)
        waiting = True
        time.sleep(min(cfg.interval, 2))


def open_storage(path: Path, url: str | None, interval: int) -> RDBStorage:
    """The database at a URL, or a file in the study's folder.

    Args:
        path: the study's folder, which is made.
        url: of the database; None for the file.
        interval: seconds between the heartbeats of a trial; one that misses two is queued again.

    Raises:
        UserError: for a database that cannot be reached, and for anything but plain files and folders in the places
            of the study's own.
    """
    path.mkdir(parents=True, exist_ok=True)
    places = [(path / "trials", Path.is_dir), (path / "study.db", Path.is_file)]
    # behind their folder, in which a link is found first
    for own, is_right in [*places, *((trial, Path.is_dir) for trial in path.glob("trials/[0-9]*"))]:
        if own.is_symlink() or (own.exists() and not is_right(own)):
            raise UserError(
                f"{own}: is no plain file or folder of a study; remove it, or name another study, study=..."
            )
    if url is None and os.path.lexists(path / "study.log"):
        raise UserError(f"{path} holds a study of an earlier version (study.log); name another one, study=...")
    where = "storage" if url else str(path / "study.db")
    url = url or f"sqlite:///{(path / 'study.db').resolve()}"
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    for attempt in (1, 2):
        try:
            storage = RDBStorage(
                url, options, heartbeat_interval=interval, heartbeat_stale_trial_callback=retry(RETRIES)
            )
            break
        except (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError, ValueError) as error:
            # RuntimeError: tables of another version of Optuna
            if attempt == 2:
                raise UserError(
                    f"{where} cannot be opened: {_reason(error)}. {EXAMPLE if where == 'storage' else ANOTHER}"
                ) from error
        # of processes that make the tables of a new database at once, the slower one finds them now
        time.sleep(1.0)
    if url.startswith("sqlite"):
        _lock_from_the_first_read(storage.engine)
    return storage


def _lock_from_the_first_read(engine: Engine) -> None:
    """Let transactions of SQLite exclude each other from their first read on, not from their first write on.

    Otherwise two processes can both read that a trial is waiting, and both begin it. This is SQLAlchemy's way for
    Python's driver, which begins no transaction by itself before a write.
    """

    @event.listens_for(engine, "connect")
    def leave_to_us(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def lock(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # of connections that were made before


def open_study(storage: RDBStorage, path: Path, search: Search, cfg: DictConfig) -> optuna.Study:
    """Create a study, with the present settings as its first trial, or join the one that is there.

    Raises:
        UserError: if the study that is there is about something else, or the folder has trials of another one.
    """
    name, pruner, sampler = path.name, instantiate(cfg.search.pruner), instantiate(cfg.search.sampler, seed=cfg.seed)
    direction: Any = "maximize" if search.mode == "max" else "minimize"
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, direction=direction, sampler=sampler, pruner=pruner
        )
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name, sampler=sampler, pruner=pruner)
        # with the seed of the process that created the study, this one would propose the same values
        sampler.reseed_rng()
        if not _is_described(study):
            # whoever created it was killed before it had described it
            _describe(study, search)
        _check_definition(study, search)
        return study
    if any(path.glob("trials/*")):
        optuna.delete_study(study_name=name, storage=storage)
        raise UserError(f"{path} holds trials of another study; name another one, study=..., or move it away.")
    _describe(study, search)
    return study


def _describe(study: optuna.Study, search: Search) -> None:
    """Note what a new study is about, and queue the present settings as its first trial."""
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(dict(search.first), user_attrs={FIRST: True})
    study.set_user_attr(DEFINITION, json.dumps(search.definition))


def _is_described(study: optuna.Study) -> bool:
    """Whether a study says what it is about, also after a while in which the process that has just created it may."""
    for _ in range(50):
        if DEFINITION in study.user_attrs:
            return True
        time.sleep(0.2)
    return False


def folder_of(trial: FrozenTrial, path: Path) -> Path:
    """The folder of a trial, which one that is repeated shares with the one that was broken off."""
    original = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return path / "trials" / str(trial.number if original is None else original)


def retry(most: int | None = None) -> RetryHeartbeatStaleTrialCallback:
    """What queues a trial again that was broken off, together with the epochs that it has reported."""
    return RetryHeartbeatStaleTrialCallback(max_retry=most, inherit_intermediate_values=True)


def _check_definition(study: optuna.Study, search: Search) -> None:
    try:
        there = dict(json.loads(study.user_attrs[DEFINITION]))
    except (TypeError, ValueError, RecursionError):
        raise UserError(f"study {study.study_name!r} does not say what it searches. {ANOTHER}") from None
    here = json.loads(json.dumps(search.definition))
    changed = [name for name in [*there, *(here.keys() - there.keys())] if there.get(name) != here.get(name)]
    if changed:
        shown = "; ".join(f"{name} was {there.get(name)!r} and is {here.get(name)!r}" for name in changed[:4])
        raise UserError(
            f"study {study.study_name!r} was begun with other settings, so that its trials do not compare with new "
            f"ones ({shown}; {len(changed)} in all). Nothing was changed: use the old settings, or another study=..."
        )


def _tidy(study: optuna.Study, path: Path, kept: str) -> None:
    """Remove the checkpoints that `checkpoints` does not keep."""
    best = best_trial(study) if kept == "best" else None
    for trial in study.get_trials(deepcopy=False, states=ENDED) if kept != "all" else ():
        if best is None or trial.number != best.number:
            shutil.rmtree(folder_of(trial, path) / "checkpoints", ignore_errors=True)
