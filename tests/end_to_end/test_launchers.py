"""Sweeps whose jobs run side by side: Hydra's launchers for joblib and for submitit, here with its local executor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOSSES = ["cvae.losses.huber", "cvae.losses.mse"]


@pytest.mark.parametrize(
    ("launcher", "beside"),
    [
        (("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), set()),
        (("hydra/launcher=submitit_local",), {".submitit"}),
    ],
    ids=["joblib", "submitit"],
)
def test_jobs_side_by_side_have_a_folder_each_and_are_not_repeated(
    command_line: Any,
    tiny: tuple[str, ...],
    tmp_path: Path,
    clean_checkout: Callable[[], None],
    launcher: tuple[str, ...],
    beside: set[str],
) -> None:
    sweep = ("-m", *tiny, *launcher, "trainer.max_epochs=1", "threads=1", f"hydra.sweep.dir={tmp_path}")
    done = command_line(*sweep, "loss=mse")
    assert done.returncode == 0, done.stderr
    (first,) = tmp_path.rglob("result.json")
    before = first.read_bytes()

    # the same with one value more
    done = command_line(*sweep, "loss=mse,huber")
    assert done.returncode == 0, done.stderr
    results = {path: json.loads(path.read_text()) for path in tmp_path.rglob("result.json")}
    losses = [result["config"]["loss"]["elementwise"]["_target_"] for result in results.values()]
    assert sorted(losses) == LOSSES
    assert all(result["status"] == "finished" and "test/score" in result["measures"] for result in results.values())
    assert first.read_bytes() == before
    folders = {path.parent.name for path in results}
    assert {path.name for path in tmp_path.iterdir()} == {*folders, *beside, "multirun.yaml"}
    clean_checkout()
