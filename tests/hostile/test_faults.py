"""Kills at every system call that writes, one of several processes that dies, full disks, and clocks that go back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir

from cvae.commands import generate, submit
from cvae.config import config_folder
from cvae.data.files import load_plain, write_solutions
from cvae.files import write_json
from cvae.inversion.reference import Budget, cached_reference_sets
from cvae.runs import tune
from cvae.runs.checkpoint_files import WholeCheckpoints
from cvae.runs.launch import run as train
from cvae.tasks import line_problem
from tests.conftest import ROOT
from tests.hostile.faults import can_mount, can_trace, kills, small_disk
from tests.hostile.good import TINY, Good, config, epochs_done, put, resumptions, same, weights

traced = pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to hold a process with it")
mounted = pytest.mark.skipif(not can_mount(), reason="needs the right to mount a file system")

PROBLEM = line_problem(12, ["falling", "rising"], [0.0, 1.0], ["x0 * x1"], {"pearson": 0.9, "rmse": 0.05})
BUDGET = Budget(simulations=500, starts=20, kept=20)
#: what whole commands are killed at
COMMAND = ("write", "rename", "unlink", "mkdir", "fsync")
#: how the names begin of what a killed process may leave behind
HIDDEN = "."


def solutions(path: Path, seed: int) -> None:
    theta = PROBLEM.space.sample(6, torch.Generator().manual_seed(seed))
    x = PROBLEM.space.decode(theta).unflatten(0, (2, 3))
    y = PROBLEM.forward(x[:, 0])
    write_solutions(path, PROBLEM, x, y, PROBLEM.check(x, y))


def references(path: Path, seed: int) -> None:
    theta = PROBLEM.space.sample(2, torch.Generator().manual_seed(0))
    cached_reference_sets(PROBLEM, PROBLEM.forward(PROBLEM.space.decode(theta)), path, budget=BUDGET)


def checkpoint(path: Path, seed: int) -> None:
    WholeCheckpoints().save_checkpoint({"state_dict": {"a": torch.full((5000,), float(seed))}}, path)


#: each kind of file: its name, and what writes the one of a seed
FILES: dict[str, Callable[[Path, int], None]] = {
    "last.ckpt": checkpoint,
    "result.json": lambda path, seed: write_json(path, {"status": "running", "config": [seed] * 3000}),
    "x.csv": solutions,
    "x.npz": solutions,
    "x.pt": solutions,
}


def removed(folder: Path) -> None:
    """Remove a folder, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def emptied(folder: Path) -> None:
    """Make a folder, or empty it."""
    removed(folder)
    folder.mkdir()


def told(what: str, count: int) -> None:
    """For the table in ``docs/reliability.md``; ``pytest -s`` shows it."""
    print(f"\nkilled {count} times: {what}")


@traced
@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("there", [False, True])
def test_a_file_is_the_old_or_the_new_one_wherever_its_writer_is_killed(name: str, there: bool, tmp_path: Path) -> None:
    write, path = FILES[name], tmp_path / "run" / name
    write(tmp_path / "old" / name, 1)
    write(tmp_path / "new" / name, 2)
    old, new = ((tmp_path / folder / name).read_bytes() for folder in ("old", "new"))
    found, count = set(), 0

    def begin() -> None:
        emptied(path.parent)
        if there:
            path.write_bytes(old)

    for place in kills(begin, lambda: write(path, 2)):
        content = path.read_bytes() if path.exists() else None
        assert content in ((old, new) if there else (None, new)), place
        assert {one.name for one in path.parent.iterdir() if not one.name.startswith(HIDDEN)} <= {name}, place
        found.add((place.partition(" ")[0], content == new))
        count += 1
    # it was killed before and after the rename
    assert {after for _, after in found} == {False, True}
    assert {"write", "rename"} <= {call for call, _ in found}
    told(name, count)


@traced
@pytest.mark.slow
def test_a_killed_search_leaves_no_half_reference_sets(tmp_path: Path) -> None:
    references(tmp_path / "good", 0)
    (good,) = (load_plain(path) for path in (tmp_path / "good").iterdir())
    count = 0
    cache = tmp_path / "cache"
    for place in kills(lambda: emptied(cache), lambda: references(cache, 0)):
        count += 1
        for path in [path for path in cache.glob("*.pt") if not path.name.startswith(HIDDEN)]:
            content = load_plain(path)
            assert all(torch.equal(one[0], other[0]) for one, other in zip(content, good, strict=True)), place
    assert count > 3
    told("reference sets", count)


def command(good: Good, name: str, out: Path) -> None:
    """What a command writes."""
    t = np.linspace(0, 1, 50)
    y = out.parent / "y.npy"
    if not y.exists():
        np.save(y, ((0.9 - 0.5 * t) * (0.2 + 0.6 * t))[None, None])
    cfg = config(name=name)
    for key, value in {"checkpoint": str(good.best), "draws": 3, "out": str(out)}.items():
        put(cfg, key, value)
    put(cfg, "condition" if name == "generate" else "conditions", str(y))
    with patch("cvae.challenge.submit.run_standalone"):
        (generate if name == "generate" else submit).run(cfg)


@traced
@pytest.mark.slow
def test_generate_that_is_killed_leaves_whole_solutions_or_none(good: Good, tmp_path: Path) -> None:
    command(good, "generate", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        expected = dict(arrays)
    (tmp_path / "x.npz").unlink()
    count = 0
    path = tmp_path / "x.npz"
    for place in kills(lambda: path.unlink(missing_ok=True), lambda: command(good, "generate", path), COMMAND):
        count += 1
        if path.exists():
            with np.load(path) as arrays:
                assert all((arrays[key] == expected[key]).all() for key in expected), place
    assert count > 3
    told("generate", count)


@traced
@pytest.mark.slow
def test_submit_that_is_killed_leaves_a_whole_bundle_or_none(good: Good, tmp_path: Path) -> None:
    command(good, "submit", tmp_path / "expected")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "expected").iterdir()}
    count = 0
    bundle = tmp_path / "bundle"
    for place in kills(lambda: removed(bundle), lambda: command(good, "submit", bundle), COMMAND):
        count += 1
        if bundle.exists():
            assert {path.name: path.read_bytes() for path in bundle.iterdir()} == expected, place
    assert count > 4
    told("submit", count)
    # what was killed is in nobody's way
    command(good, "submit", tmp_path / "bundle")
    assert {path.name: path.read_bytes() for path in (tmp_path / "bundle").iterdir()} == expected


@traced
@pytest.mark.slow
def test_a_training_that_is_killed_anywhere_ends_with_the_same_weights(good: Good, tmp_path: Path) -> None:
    """At every third of these system calls: of its record, its config and its checkpoints."""
    count, times = 0, Counter[int]()
    run = tmp_path / "run"
    for place in kills(lambda: removed(run), lambda: train(config(), run), COMMAND, 3):
        count += 1
        for path in (run / "checkpoints").glob("[a-z]*.ckpt"):
            torch.load(path, weights_only=True)
        finished = False
        for path in run.glob("result.json"):
            finished = json.loads(path.read_text())["status"] == "finished"
        done = [] if finished else epochs_done(run)
        train(config(), tmp_path / "run")
        assert resumptions(run) == done, place
        assert not list((run / "checkpoints").glob(f"{HIDDEN}*")), place
        times.update(done)
        assert same(weights(tmp_path / "run"), weights(good.whole)), place
        assert same(weights(tmp_path / "run", "best.ckpt"), weights(good.whole, "best.ckpt")), place
    assert count > 10
    assert times.keys() == {1, 2}
    told("a training", count)


@traced
@pytest.mark.slow
def test_a_study_that_is_killed_goes_on(tmp_path: Path) -> None:
    def search() -> None:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            cfg = config(name="tune")
            for key, value in {"trials": 0, "out": str(tmp_path), "study": "mine"}.items():
                put(cfg, key, value)
            tune.tune(cfg, "default")

    count = 0
    for _ in kills(lambda: removed(tmp_path / "mine"), search, ("pwrite64", "fdatasync", "unlink", "mkdir"), 19):
        count += 1
        # the tables of a database are made in one transaction each: it is whole, or is made on
        search()
    assert count > 5
    told("a new study", count)


# --- several processes


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_the_run_which_goes_on_when_given_again(rank: int, tmp_path: Path) -> None:
    words = [
        "data.source.train=2000", "data.source.validation=32", "data.batch_size=16", "data.evaluation.validation=4",
        "data.evaluation.references=0", "model=dense", "model.hidden=[8]", "test=false", "~callbacks.progress",
        "trainer=ddp_cpu", "trainer.max_epochs=6", f"hydra.run.dir={tmp_path}/run", "threads=1",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CVAE_CACHE": str(tmp_path / "cache")}

    def start() -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([sys.executable, "train.py", *words], cwd=ROOT, env=environment, **pipes)

    process = start()
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(_of_rank(tmp_path / "run", rank), signal.SIGKILL)
    said = process.communicate(timeout=300)[0]
    assert process.returncode not in (0, None), said
    assert "one of 2 processes failed" in said
    assert not _workers(tmp_path / "run"), "a process was left behind"
    again = start()
    said = again.communicate(timeout=600)[0]
    assert again.returncode == 0, said
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["status"] == "finished"
    assert record["resumed"]


def _workers(run: Path) -> list[int]:
    """The processes that train in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().split(b"\0") if path.exists() else []
        if b"cvae.runs.worker" in words and str(run).encode() in words and b"torch.distributed.run" not in words:
            found.append(int(path.parent.name))
    return found


def _of_rank(run: Path, rank: int) -> int:
    for process in _workers(run):
        if f"RANK={rank}".encode() in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
            return process
    raise AssertionError(f"there is no process of rank {rank}")


# --- full disks


@mounted
@pytest.mark.slow
def test_a_disk_that_is_full_in_a_sweep_is_said_once_for_each_job(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "300k") as disk:
        words = [
            "-m", "seed=1,2,3", f"hydra.sweep.dir={disk}/sweep", "data.source.train=64", "data.source.validation=16",
            "data.batch_size=32", "data.evaluation.validation=4", "data.evaluation.references=0", "model=dense",
            "model.hidden=[32,32]", "test=false", "trainer.max_epochs=2", "~callbacks.progress", "threads=1",
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "train.py", *words], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert "the disk is full" in said
        assert "Traceback" not in said
        for path in Path(disk).rglob("[a-z]*.ckpt"):
            torch.load(path, weights_only=True)
        for path in Path(disk).rglob("result.json"):
            json.loads(path.read_text())


@mounted
@pytest.mark.slow
def test_a_disk_that_is_full_in_a_study_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cvae.commands import tune as command

    with small_disk(tmp_path / "disk", "400k") as disk, initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = config(name="tune")
        overrides = [word for word in TINY if word.startswith(("data.source", "data.evaluation", "trainer"))]
        settings = {"trials": 3, "out": str(disk), "study": "mine", "overrides": overrides}
        for key, value in settings.items():
            put(cfg, key, value)
        with patch.object(command, "HydraConfig") as hydra:
            hydra.get().runtime.choices = {"search": "default"}
            with pytest.raises(SystemExit) as ended:
                command.run(cfg)
        said = f"{ended.value.code} {capsys.readouterr().err}"
        assert ended.value.code not in (0, None)
        assert "full" in said
        assert "Traceback" not in said


# --- clocks


@pytest.mark.parametrize("back", [3600.0, 3e8])
def test_a_clock_that_is_set_back_changes_no_result(good: Good, tmp_path: Path, back: float) -> None:
    shutil.copytree(good.interrupted, tmp_path / "run")
    now = time.time

    with patch("time.time", lambda: now() - back):
        train(config(), tmp_path / "run")
    assert same(weights(tmp_path / "run"), weights(good.whole))
    assert resumptions(tmp_path / "run") == [1]
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["status"] == "finished"
    assert record["duration_s"] >= 0


def test_a_clock_that_is_set_back_in_a_training_gives_no_negative_duration(tmp_path: Path) -> None:
    now, calls = time.time, iter(range(10**9))
    with patch("time.time", lambda: now() - 1000.0 * next(calls)):
        train(config(), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["duration_s"] >= record["fit_s"] >= 0
    assert record["resumed"] == []
