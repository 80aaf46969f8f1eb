"""The loop of a search: as many processes as are started work on one study until it has its trials."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from cvae.errors import DiskError
from cvae.search.alive import ERROR, LOST, queue_again, signs_of_life, take_over_lost
from cvae.search.definition import Definition
from cvae.search.trial import run_trial

#: trials that may fail before any has succeeded
HOPELESS = 5
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Limits:
    """When a process stops, and what it leaves.

    Attributes:
        trials: that the study shall have, those of other processes and earlier starts included.
        timeout: seconds after which no further trial starts; None for no limit.
        interval: seconds between signs of life.
        checkpoints: of which trials checkpoints are kept.
    """

    trials: int
    timeout: float | None
    interval: float
    checkpoints: Literal["best", "all", "none"]

    def __post_init__(self) -> None:
        if not isinstance(self.trials, int) or isinstance(self.trials, bool) or self.trials < 0:
            raise ValueError(f"trials is {self.trials!r}; it must be a whole number, at least 0.")
        for name in ("timeout", "interval"):
            value = getattr(self, name)
            if value is None and name == "timeout":
                continue
            if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
                raise ValueError(f"{name} is {value!r}; it must be a positive number of seconds.")
        if self.checkpoints not in ("best", "all", "none"):
            raise ValueError(f"checkpoints is {self.checkpoints!r}; it must be best, all or none.")


def search(
    study: optuna.Study, storage: BaseStorage, definition: Definition, folder: Path, limits: Limits,
    say: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Run trials until the study has as many as wanted, or time is over.

    Args:
        study: see :func:`cvae.search.storage.open_study`.
        storage: of the study.
        definition: what a trial is.
        folder: of the study; each trial has its own below.
        limits: when to stop.
        say: is told of each trial.

    Raises:
        ValueError: if the first trials have failed one and all; the message is that of the last.
    """
    started = time.monotonic()
    while True:
        for number in take_over_lost(study, storage, limits.interval):
            say(f"trial {number} was left behind by a process that is gone; its values are tried again")
        if counted(study) >= limits.trials:
            return
        if limits.timeout is not None and time.monotonic() - started >= limits.timeout:
            say(f"{limits.timeout:g} s are over; the same command goes on")
            return
        trial = study.ask()
        own = folder / "trials" / str(trial.number)
        try:
            with signs_of_life(trial, limits.interval):
                state, value = run_trial(trial, definition, own)
            study.tell(trial, value, state)
        except (KeyboardInterrupt, SystemExit, DiskError) as error:
            queue_again(study, storage, _frozen(study, trial.number), crashed=False)
            say(f"stopped in trial {trial.number}, whose values will be tried again; the same command goes on")
            if isinstance(error, DiskError):
                raise
            # Lightning turns a SIGTERM into an exit that looks like success
            raise SystemExit(1) from None
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError) as error:
            if _frozen(study, trial.number).state not in FINISHED:
                raise
            say(f"trial {trial.number} was taken over by another process ({error})")
            continue
        say(f"{line(_frozen(study, trial.number))}; {counted(study)} of {limits.trials}")
        _tidy(study, folder, limits.checkpoints)
        _check_hope(study)


def counted(study: optuna.Study) -> int:
    """Trials that are finished or worked on; those that are tried again count once."""
    trials = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))
    return sum(not trial.user_attrs.get(LOST, False) for trial in trials)


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial keeps all constraints."""
    return all(violation <= 0 for violation in trial.constraints.values())


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials, the best first: those that keep the constraints by value, then the others by violation."""
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1

    def order(trial: FrozenTrial) -> tuple[float, float, int]:
        violation = sum(value for value in trial.constraints.values() if value > 0)
        # of equal ones the earlier, as Optuna has it
        return violation, sign * float(trial.value or 0.0), trial.number

    return sorted(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), key=order)


def best(study: optuna.Study) -> FrozenTrial | None:
    """The best trial that keeps all constraints; None if there is none yet."""
    first = ranked(study)[:1]
    return first[0] if first and feasible(first[0]) else None


def line(trial: FrozenTrial) -> str:
    """How a trial ended, in one line."""
    seconds = trial.user_attrs.get("seconds", 0.0)
    told = f"trial {trial.number}: {trial.state.name.lower()}"
    if trial.value is not None:
        told += f" {trial.value:.4g}"
    if trial.state == TrialState.COMPLETE and not feasible(trial):
        missed = [f"{name} by {violation:.2g}" for name, violation in trial.constraints.items() if violation > 0]
        told += f" (misses {', '.join(missed)})"
    if ERROR in trial.user_attrs:
        told += f" ({trial.user_attrs[ERROR]})"
    return f"{told}, {seconds:.0f} s"


def _frozen(study: optuna.Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]


def _tidy(study: optuna.Study, folder: Path, kept: str) -> None:
    """Remove checkpoints that nobody will ask for."""
    if kept == "all":
        return
    first = best(study) if kept == "best" else None
    for trial in study.get_trials(deepcopy=False, states=FINISHED):
        if first is None or trial.number != first.number:
            shutil.rmtree(folder / "trials" / str(trial.number) / "checkpoints", ignore_errors=True)


def _check_hope(study: optuna.Study) -> None:
    ended = [trial for trial in study.get_trials(deepcopy=False, states=FINISHED) if not trial.user_attrs.get(LOST)]
    failed = [trial for trial in ended if trial.state == TrialState.FAIL]
    if len(failed) == len(ended) >= HOPELESS:
        raise ValueError(f"the first {len(failed)} trials failed; the last: {failed[-1].user_attrs.get(ERROR)}")
