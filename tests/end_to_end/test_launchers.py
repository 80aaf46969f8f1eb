"""Sweeps whose jobs run side by side: Hydra's launchers for joblib and for submitit, here with its local executor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LAUNCHERS = pytest.mark.parametrize(
    ("launcher", "beside"),
    [
        (("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), set()),
        pytest.param(("hydra/launcher=submitit_local",), {".submitit"}, marks=pytest.mark.slow),
    ],
    ids=["joblib", "submitit"],
)
LOSSES = ["cvae.losses.huber", "cvae.losses.squared"]


def results(sweep_dir: Path, beside: set[str]) -> dict[str, dict[str, Any]]:
    """The results of a sweep's jobs by their folders, beside which lies only what a launcher leaves."""
    found = {path.parent.name: json.loads(path.read_text()) for path in sweep_dir.rglob("result.json")}
    assert {path.name for path in sweep_dir.iterdir()} == {*found, *beside, "multirun.yaml"}
    assert all(result["status"] == "finished" and "test/score" in result["measures"] for result in found.values())
    return found


def losses(found: dict[str, dict[str, Any]]) -> list[str]:
    return sorted(result["config"]["loss"]["likelihood"]["_target_"] for result in found.values())


@LAUNCHERS
def test_jobs_side_by_side_have_a_folder_each(
    command_line: Any,
    tiny: tuple[str, ...],
    tmp_path: Path,
    clean_checkout: Callable[[], None],
    launcher: tuple[str, ...],
    beside: set[str],
) -> None:
    done = command_line("-m", *tiny, *launcher, "threads=1", "loss=mse,huber", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert losses(results(tmp_path, beside)) == LOSSES
    clean_checkout()


@pytest.mark.slow
@LAUNCHERS
def test_a_sweep_that_grows_repeats_no_job(
    command_line: Any, tiny: tuple[str, ...], tmp_path: Path, launcher: tuple[str, ...], beside: set[str]
) -> None:
    sweep = ("-m", *tiny, *launcher, "threads=1", f"hydra.sweep.dir={tmp_path}")
    assert command_line(*sweep, "loss=mse").returncode == 0
    before = results(tmp_path, beside)
    assert losses(before) == LOSSES[1:]
    assert command_line(*sweep, "loss=mse,huber").returncode == 0
    after = results(tmp_path, beside)
    assert losses(after) == LOSSES
    # with the time at which it finished
    assert after.items() >= before.items()
