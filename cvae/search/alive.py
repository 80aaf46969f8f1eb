"""Which trials are still worked on: a killed process leaves its trial "running", and somebody has to notice."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

#: entries of a trial
WORKER, SIGN, ATTEMPTS, LOST, ERROR, DEFAULT = "worker", "sign_of_life", "attempts", "lost", "error", "default"
#: a trial without a sign of life for as many intervals is lost
MISSED = 10
#: processes that one set of values may cost before it is given up
MOST_ATTEMPTS = 3


def myself() -> dict[str, Any]:
    """This process, such that others on the same machine can see whether it lives."""
    return {"host": _host(), "pid": os.getpid(), "began": _began(os.getpid())}


def lives(worker: Mapping[str, Any]) -> bool | None:
    """Whether a process lives; None if that cannot be seen from here."""
    if worker.get("host") != _host():
        return None
    return _began(int(worker["pid"])) == worker.get("began")


@contextmanager
def signs_of_life(trial: optuna.Trial, interval: float) -> Iterator[None]:
    """Write the time into the trial every ``interval`` seconds, from a thread."""
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(interval):
            # a trial that was taken away takes no more entries, as the training itself will notice; a database may be
            # out of reach for a while, a disk full
            with contextlib.suppress(optuna.exceptions.OptunaError, OSError):
                trial.set_user_attr(SIGN, time.time())

    trial.set_user_attr(WORKER, myself())
    trial.set_user_attr(SIGN, time.time())
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def take_over_lost(study: optuna.Study, storage: BaseStorage, interval: float) -> list[int]:
    """Fail the running trials whose process is gone, and queue their values again.

    Returns:
        Numbers of the trials.
    """
    lost = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_lost(trial, interval) and queue_again(study, storage, trial):
            lost.append(trial.number)
    return lost


def queue_again(study: optuna.Study, storage: BaseStorage, trial: FrozenTrial, crashed: bool = True) -> bool:
    """Fail a running trial and queue its values.

    Args:
        study: of the trial.
        storage: of the study.
        trial: a running one.
        crashed: whether its process ended by itself; values that crash several processes are given up.

    Returns:
        False if another process was faster.
    """
    attempts = int(trial.user_attrs.get(ATTEMPTS, 0)) + crashed
    again = attempts < MOST_ATTEMPTS
    values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    told = f"its process ended ({attempts} of {MOST_ATTEMPTS} times)" if crashed else "stopped"
    try:
        storage.set_trial_user_attr(trial._trial_id, ERROR, told)
        storage.set_trial_user_attr(trial._trial_id, LOST, again)
        study.tell(trial.number, state=TrialState.FAIL)
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
        return False
    if again:
        kept = {name: trial.user_attrs[name] for name in (DEFAULT,) if name in trial.user_attrs}
        study.enqueue_trial(values, user_attrs={**kept, ATTEMPTS: attempts})
    return True


def _is_lost(trial: FrozenTrial, interval: float) -> bool:
    worker = trial.user_attrs.get(WORKER)
    seen = lives(worker) if worker else None
    if seen is False:
        return True
    began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    # also where the process seems to live: it may be a frozen one
    return time.time() - float(trial.user_attrs.get(SIGN, began)) > MISSED * interval


def _host() -> str:
    # process numbers mean nothing in another container of the same name
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _began(pid: int) -> str | None:
    """Something that tells a process from a later one of the same number; None if it does not run."""
    if Path("/proc/self/stat").exists():
        try:
            # after the name, which may hold anything: state, ..., start time
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
