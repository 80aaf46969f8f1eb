"""Trials that a killed process leaves behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from cvae.search import alive
from cvae.search.alive import ATTEMPTS, DEFAULT, ERROR, LOST, MISSED, MOST_ATTEMPTS, SIGN, WORKER
from cvae.search.storage import open_storage
from cvae.search.study import counted


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    return open_storage(tmp_path, None)


@pytest.fixture
def study(storage: Any) -> optuna.Study:
    return optuna.create_study(storage=storage, direction="maximize")


def running(study: optuna.Study, worker: dict[str, Any], sign: float, **attributes: Any) -> int:
    """A trial that another process has begun."""
    study.enqueue_trial({"a": 0.5}, user_attrs={DEFAULT: True, **attributes})
    trial = study.ask()
    trial.suggest_float("a", 0.0, 1.0)
    trial.set_user_attr(WORKER, worker)
    trial.set_user_attr(SIGN, sign)
    return trial.number


@pytest.fixture
def dead() -> dict[str, Any]:
    """A process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker = {**alive.myself(), "pid": process.pid, "began": alive._began(process.pid)}
    assert alive.lives(worker) is True
    process.kill()
    # not yet waited for, which leaves it in the list of processes
    time.sleep(0.2)
    assert alive.lives(worker) is False
    process.communicate()
    return worker


def test_a_later_process_of_the_same_number_is_another() -> None:
    assert alive.lives(alive.myself()) is True
    assert alive.lives({**alive.myself(), "began": "long ago"}) is False
    assert alive.lives({**alive.myself(), "host": "elsewhere"}) is None


def test_values_of_a_killed_process_are_queued_again(study: optuna.Study, storage: Any, dead: dict[str, Any]) -> None:
    number = running(study, dead, time.time())
    assert alive.take_over_lost(study, storage, 30.0) == [number]
    assert alive.take_over_lost(study, storage, 30.0) == []
    lost, queued = study.get_trials()
    assert lost.state == TrialState.FAIL
    assert lost.user_attrs[LOST]
    assert queued.state == TrialState.WAITING
    assert counted(study) == 0
    again = study.ask()
    assert again.suggest_float("a", 0.0, 1.0) == 0.5
    assert again.user_attrs[DEFAULT]
    assert again.user_attrs[ATTEMPTS] == 1


def test_a_process_elsewhere_is_lost_when_it_gives_no_sign_of_life(study: optuna.Study, storage: Any) -> None:
    elsewhere = {**alive.myself(), "host": "elsewhere"}
    running(study, elsewhere, time.time() - MISSED * 30.0 + 20.0)
    assert alive.take_over_lost(study, storage, 30.0) == []
    assert counted(study) == 1
    number = running(study, elsewhere, time.time() - MISSED * 30.0 - 20.0)
    assert alive.take_over_lost(study, storage, 30.0) == [number]


def test_values_that_end_every_process_are_given_up(study: optuna.Study, storage: Any, dead: dict[str, Any]) -> None:
    running(study, dead, time.time(), **{ATTEMPTS: MOST_ATTEMPTS - 1})
    alive.take_over_lost(study, storage, 30.0)
    (trial,) = study.get_trials()
    assert trial.state == TrialState.FAIL
    assert "its process ended" in trial.user_attrs[ERROR]
    assert counted(study) == 1


def test_a_running_trial_gives_signs_of_life(study: optuna.Study) -> None:
    trial = study.ask()
    with alive.signs_of_life(trial, 0.05):
        first = study.get_trials()[0].user_attrs
        assert first[WORKER] == alive.myself()
        time.sleep(0.3)
        assert study.get_trials()[0].user_attrs[SIGN] > first[SIGN]
    last = study.get_trials()[0].user_attrs[SIGN]
    time.sleep(0.15)
    assert study.get_trials()[0].user_attrs[SIGN] == last


def test_a_line_that_was_cut_off_spoils_nothing(study: optuna.Study, tmp_path: Path) -> None:
    study.ask()
    journal = tmp_path / "study.log"
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b'{"op_code":5,"work')
    again = optuna.load_study(study_name=study.study_name, storage=open_storage(tmp_path, None))
    assert journal.read_bytes() == whole
    again.ask()
    assert len(optuna.load_study(study_name=study.study_name, storage=open_storage(tmp_path, None)).trials) == 2
