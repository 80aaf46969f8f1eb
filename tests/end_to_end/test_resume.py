"""A run that is interrupted ends like one that is not."""

from __future__ import annotations

import csv
import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning import Callback
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cvae.runs.folder import FolderTakenError
from cvae.runs.launch import run
from cvae.runs.locks import LOCK

ROOT = Path(__file__).resolve().parents[2]
#: four epochs of two steps, with what a resumed run could get wrong: noise of the posterior, fresh data, a schedule
OVERRIDES = (
    "trainer.max_epochs=4",
    "data.fresh=true",
    "~callbacks.progress",
    "loss.beta_schedule.warmup_steps=5",
    "model=dense",
)
#: kills its own process in the second step of the third epoch
KILLED = """
import os, signal, sys
from pathlib import Path
from hydra import compose, initialize_config_dir
from lightning import Callback
import cvae.runs.names
from cvae.runs.launch import run

class Kill(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 6:
            os.kill(os.getpid(), signal.SIGKILL)

with initialize_config_dir(sys.argv[1], version_base="1.3"):
    cfg = compose("train", overrides=sys.argv[3:])
run(cfg, Path(sys.argv[2]), sys.argv[3:], [Kill()])
"""


def train_config(overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", overrides=[*overrides])


@pytest.fixture
def composed(tiny: Sequence[str]) -> Callable[..., DictConfig]:
    return lambda *overrides: train_config([*tiny, *OVERRIDES, *overrides])


class Stop(Callback):
    """Raises in the second step of an epoch."""

    def __init__(self, epoch: int, error: BaseException) -> None:
        self.epoch, self.error = epoch, error

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == self.epoch and trainer.global_step == 2 * self.epoch + 2:
            raise self.error


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]


def assert_same_run(one: Path, other: Path) -> None:
    """Every weight, every measure and both logs agree exactly."""
    for name in ("last.ckpt", "best.ckpt"):
        first, second = weights(one, name), weights(other, name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    assert result(one)["measures"] == result(other)["measures"]
    assert result(one)["checkpoint"] == result(other)["checkpoint"]
    assert (one / "csv" / "metrics.csv").read_text() == (other / "csv" / "metrics.csv").read_text()
    boards = [EventAccumulator(str(folder)).Reload() for folder in (one, other)]
    for tag in ("1 headline/score", "(kept)/1 score"):
        events = [[(event.step, event.value) for event in board.Scalars(tag)] for board in boards]
        assert events[0] == events[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, own_cache: None, tiny: Sequence[str]) -> Path:
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    run(train_config([*tiny, *OVERRIDES]), folder)
    return folder


@pytest.fixture(scope="module")
def whole_vectors(tmp_path_factory: pytest.TempPathFactory, own_cache: None, vectors: Sequence[str]) -> Path:
    """The run on vectors that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    run(train_config([*vectors, *OVERRIDES]), folder)
    return folder


@pytest.mark.parametrize(
    ("unbroken", "words"), [("whole", "tiny"), pytest.param("whole_vectors", "vectors", marks=pytest.mark.slow)]
)
def test_a_killed_run_ends_with_the_same_weights(
    unbroken: str, words: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole, small = request.getfixturevalue(unbroken), request.getfixturevalue(words)
    command = [sys.executable, "-c", KILLED, str(ROOT / "conf"), str(tmp_path), *small, *OVERRIDES]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert result(tmp_path)["status"] == "running"
    assert (tmp_path / LOCK).exists()
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1
    value = run(train_config([*small, *OVERRIDES]), tmp_path)
    assert_same_run(whole, tmp_path)
    found = result(tmp_path)
    assert (found["status"], found["value"], found["resumed"]) == ("finished", value, [2])
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("done", [0, 3])
def test_a_run_that_failed_goes_on_when_it_is_given_again(
    composed: Any, whole: Path, tmp_path: Path, done: int
) -> None:
    """Before the first checkpoint, and in the last epoch."""
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError, match="power cut"):
        run(composed(), folder, callbacks=[Stop(done, RuntimeError("power cut"))])
    found = result(folder)
    assert (found["status"], found["error"]) == ("failed", "RuntimeError: power cut")
    assert "Traceback" in found["stack"]
    if done:
        # a folder may be moved meanwhile
        folder = folder.rename(tmp_path / "moved")
    run(composed(), folder)
    assert_same_run(whole, folder)
    assert result(folder)["resumed"] == ([done] if done else [])


def test_a_run_that_had_trained_all_epochs_has_all_measures(
    composed: Any, whole: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    # interrupted after the last epoch, before the record was written, and moved to another place
    shutil.copytree(whole, tmp_path / "moved")
    record = result(whole)
    begun = {"status": "running"} | {key: record[key] for key in ("overrides", "config_hash", "config")}
    (tmp_path / "moved" / "result.json").write_text(json.dumps(begun))
    run(composed(), tmp_path / "moved")
    found = result(tmp_path / "moved")
    assert found["measures"] == record["measures"]
    assert (found["checkpoint"], found["resumed"]) == (record["checkpoint"], [4])
    assert not [warning for warning in recwarn if "dirpath" in str(warning.message)]
    last = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    assert found["fit_s"] >= round(last["cvae_continuation"]["fit_s"], 2)


def test_a_finished_run_is_not_repeated(
    composed: Any, whole: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("cvae.runs.launch.train", lambda *_: pytest.fail("it was trained again"))
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    # what decides no result may differ
    assert run(composed("threads=1", "logger={}"), whole) == result(whole)["value"]
    assert "finished already" in caplog.text
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert {path: time for path, time in after.items() if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }


def test_another_run_is_refused_and_loses_nothing(composed: Any, whole: Path) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    with pytest.raises(FolderTakenError, match=r"finished run with another config: .*seed is 0 there and 1 here"):
        run(composed("seed=1"), whole)
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_is_set_aside_and_the_best_one_goes_on(
    composed: Any, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        run(composed(), tmp_path, callbacks=[Stop(2, RuntimeError("power cut"))])
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    caplog.set_level("INFO")
    run(composed(), tmp_path)
    assert f"It is set aside as {tmp_path}/last.ckpt.damaged" in caplog.text
    assert "it goes on from checkpoints/best.ckpt" in caplog.text
    assert_same_run(whole, tmp_path)


def test_a_run_that_must_begin_anew_loses_nothing_that_it_had_written(
    composed: Any, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        run(composed(), tmp_path, callbacks=[Stop(2, RuntimeError("power cut"))])
    for path in (tmp_path / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        content["optimizer_states"][0]["param_groups"][0]["weight_decay"] = 0.5
        torch.save(content, path)
    table = (tmp_path / "csv" / "metrics.csv").read_bytes()
    run(composed(), tmp_path)
    assert f"the run starts anew. What it wrote before is moved to {tmp_path}/aside-1." in caplog.text
    assert (tmp_path / "aside-1" / "csv" / "metrics.csv").read_bytes() == table
    assert [path.name for path in (tmp_path / "aside-1" / "checkpoints").iterdir()] == ["best.ckpt"]
    assert list((tmp_path / "aside-1").glob("events.out.tfevents.*"))
    assert_same_run(whole, tmp_path)
    assert result(tmp_path)["resumed"] == []


def test_a_best_checkpoint_that_is_lost_is_no_end_of_the_run(
    composed: Any, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # after the last epoch, so that no better one follows
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / "result.json").write_text(json.dumps(result(whole) | {"status": "running"}))
    (folder / "checkpoints" / "best.ckpt").unlink()
    run(composed(), folder)
    assert "best.ckpt: is gone or set aside, and the best epoch up to now is lost with it" in caplog.text
    assert result(folder)["checkpoint"] == "checkpoints/last.ckpt"


def test_a_strangers_run_removes_nothing_outside_of_its_folder(
    composed: Any, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, victim = tmp_path / "run", tmp_path / "victim"
    victim.mkdir()
    (victim / "precious.txt").write_text("precious")
    with pytest.raises(RuntimeError, match="power cut"):
        run(composed(), folder, callbacks=[Stop(2, RuntimeError("power cut"))])
    checkpoints = folder / "checkpoints"
    for name in ("last.ckpt", "best.ckpt"):
        content = torch.load(checkpoints / name, weights_only=True)
        for key, state in content["callbacks"].items():
            if "dirpath" in state:
                out = f"{checkpoints}/../../victim"
                content["callbacks"][key] = state | {"best_model_path": out, "best_k_models": {out: torch.tensor(-1.0)}}
                content["callbacks"][key] |= {"kth_best_model_path": out, "kth_value": torch.tensor(-1.0)}
        torch.save(content, checkpoints / name)
    run(composed(), folder)
    assert (victim / "precious.txt").read_text() == "precious"
    assert "as one to keep, which lies outside" in caplog.text
    assert_same_run(whole, folder)


def test_a_full_disk_gives_one_message_and_leaves_whole_files(
    composed: Any, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, checkpoints = Path.write_bytes, 0

    def write(path: Path, content: Any) -> int:
        nonlocal checkpoints
        checkpoints += 1
        if checkpoints < 4:
            return real(path, content)
        real(path, bytes(content)[:1000])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write)
        with pytest.raises(OSError, match=r"the disk is full \(No space left on device\).*re-run the same command"):
            run(composed(), tmp_path)
    assert result(tmp_path)["status"] == "failed"
    assert result(tmp_path)["stack"] is None
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} <= {"best.ckpt", "last.ckpt"}
    for path in (tmp_path / "checkpoints").iterdir():
        torch.load(path, weights_only=True)
    run(composed(), tmp_path)
    assert_same_run(whole, tmp_path)


def test_the_log_has_every_epoch_once(whole: Path) -> None:
    with (whole / "csv" / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/score"]]
    assert steps == [1, 3, 5, 7]
