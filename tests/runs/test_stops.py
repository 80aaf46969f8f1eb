"""Commands that a signal ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cvae.runs.folder import LAST, Start, mark_running
from cvae.runs.stops import advise, stoppable
from cvae.runs.sweeps import SweepReport


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # whoever starts the tests in the background has SIGINT ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    during = {number: signal.getsignal(number) for number in before}
    yield
    after = {number: signal.getsignal(number) for number in before}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == during


def kill(number: int) -> None:
    os.kill(os.getpid(), number)
    # the handler of Python runs between two of its instructions
    for _ in range(1000):
        pass


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_status_and_one_line(
    number: signal.Signals, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tidied = []

    def work() -> None:
        advise(lambda: "go on with x")
        try:
            kill(number)
        finally:
            tidied.append(True)

    with pytest.raises(SystemExit) as caught, stoppable():
        work()
    assert (caught.value.code, tidied) == (status, [True])
    assert capsys.readouterr().err == f"stopped by {number.name}: go on with x\n"
    # what another command has noted is forgotten
    with pytest.raises(SystemExit), stoppable():
        kill(number)
    assert capsys.readouterr().err == f"stopped by {number.name}: re-run the same command.\n"


@pytest.mark.parametrize("other", [SystemExit(), SystemExit("trial 3 goes on"), ImportError("half")])
def test_what_is_made_of_a_signal_on_its_way_changes_no_status(
    other: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        try:
            kill(signal.SIGTERM)
        except SystemExit:
            raise other from None

    with pytest.raises(SystemExit) as caught, stoppable():
        work()
    assert caught.value.code == 143
    assert ("trial 3 goes on" in capsys.readouterr().err) == ("trial 3" in str(other))


def test_an_end_without_a_signal_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, stoppable():
        raise SystemExit("1 of 2 jobs failed")
    assert caught.value.code == "1 of 2 jobs failed"
    assert capsys.readouterr().err == ""


def test_a_signal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            kill(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(("kept", "said"), [(True, "goes on from its last whole epoch"), (False, "begins anew")])
def test_a_training_that_is_stopped_says_where_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kept: bool, said: str
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "seed=1"])

    def work() -> None:
        SweepReport().on_run_start(OmegaConf.create({"hydra": {"run": {"dir": str(tmp_path)}}}))
        if kept:
            (tmp_path / LAST).parent.mkdir()
            (tmp_path / LAST).touch()
        kill(signal.SIGTERM)

    with pytest.raises(SystemExit), stoppable():
        work()
    told = f"stopped by SIGTERM: the training {said} with python train.py seed=1 hydra.run.dir={tmp_path}\n"
    assert capsys.readouterr().err == told


def test_the_jobs_of_a_sweep_that_did_not_run_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["model=dense,deep", "seed=1,2", "loss=huber"]
    monkeypatch.setattr("sys.argv", ["train.py", "-m", *words])
    basic = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None}
    overrides = {"task": words, "hydra": []}
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}, "sweeper": basic, "overrides": overrides}})
    (tmp_path / "first").mkdir()
    mark_running(tmp_path / "first", Start("x"), {}, ["loss=huber", "model=dense", "seed=1"])

    def work() -> None:
        SweepReport().on_multirun_start(config)
        kill(signal.SIGTERM)

    with pytest.raises(SystemExit), stoppable():
        work()
    said = capsys.readouterr()
    assert "first  interrupted" in said.out
    assert said.err.endswith(
        "3 jobs did not run (model=dense seed=2 loss=huber; model=deep seed=1 loss=huber; model=deep seed=2 "
        f"loss=huber); the sweep goes on with python train.py -m model=dense,deep seed=1,2 loss=huber "
        f"hydra.sweep.dir={tmp_path}\n"
    )
