"""Trainings that are asked to end, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cvae.runs.locks import LOCK

ROOT = Path(__file__).resolve().parents[2]


def start(words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "train.py", *words, "trainer.max_epochs=1000", "data.evaluation.references=0"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(4800):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail(f"{path} was not written")


def test_a_sweep_that_is_stopped_says_so_and_what_did_not_run(tiny: tuple[str, ...], tmp_path: Path) -> None:
    victim, sweep = tmp_path / "victim", tmp_path / "sweep"
    victim.write_text("mine")
    # the folder of the first job is somebody's who would have the log written elsewhere
    (sweep / "seed=1").mkdir(parents=True)
    (sweep / "seed=1" / "train.log").symlink_to(victim)
    process = start(["-m", *tiny, "model=dense", "seed=1,2,3,4", f"hydra.sweep.dir={sweep}"])
    wait_for(sweep / "seed=2" / "checkpoints" / "last.ckpt", process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 143, err
    assert victim.read_text() == "mine"
    assert "seed=1  failed:" in out
    assert "train.log: is a link, but a run needs a plain file there" in out
    assert "seed=2  interrupted" in out
    (line,) = [line for line in err.splitlines() if line.startswith("stopped by SIGTERM: ")]
    jobs = [" ".join(word for word in job.split() if word.startswith("seed")) for job in line.split(";")[:2]]
    assert jobs == ["seed=3", "seed=4"]
    assert line.startswith("stopped by SIGTERM: 2 jobs did not run (")
    assert f"hydra.sweep.dir={sweep}" in line
    assert "Traceback" not in err
    assert not (sweep / "seed=2" / LOCK).exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_several_processes_end_together(
    tiny: tuple[str, ...], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process = start([*tiny, "trainer=ddp_cpu", f"hydra.run.dir={tmp_path}/run"])
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith(f"stopped by {number.name}: the training goes on from its last whole epoch")
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"cvae.runs.worker {tmp_path}" not in running
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "running"
    assert not (tmp_path / "run" / LOCK).exists()
