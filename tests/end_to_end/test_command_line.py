"""``python train.py``: sweeps and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_a_sweep_skips_what_has_finished_and_outlives_a_failure(
    command_line: Any, tiny: tuple[str, ...], tmp_path: Path, clean_checkout: Callable[[], None]
) -> None:
    # few enough words for names in full
    few = [word for word in tiny if not word.startswith(("data.source", "data.evaluation"))]
    sizes = [word for word in tiny if word not in few]
    sweep = ("-m", *few, "loss=huber", f"hydra.sweep.dir={tmp_path}")
    done = command_line(*sweep, *sizes, "model=dense", "seed=1")
    assert done.returncode == 0, done.stderr
    (first,) = (path for path in tmp_path.iterdir() if path.is_dir())
    written = (first / "result.json").read_bytes()

    done = command_line(*sweep, *sizes, "model=dense,deep", "loss.beta=5e-4", "seed=1,-1")
    assert done.returncode == 1
    assert "2 of 5 jobs failed" in done.stderr
    assert "Traceback" not in done.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
    failed = [record["error"] for record in records if record["status"] == "failed"]
    assert failed == ["seed is -1; it must be a whole number from 0 to 4294967295."] * 2
    targets = sorted(record["config"]["model"]["_target_"] for record in records if record["status"] == "finished")
    assert targets == ["cvae.networks.deep", "cvae.networks.dense", "cvae.networks.dense"]

    done = command_line(*sweep, *sizes, "model=dense,deep", "seed=1")
    assert done.returncode == 1  # the folder still holds the failed ones
    assert done.stdout.count("finished already") == 1
    assert (first / "result.json").read_bytes() == written
    clean_checkout()


@pytest.mark.parametrize("trainer", ["default", pytest.param("ddp_cpu", marks=pytest.mark.slow)])
def test_a_mistake_gives_one_message_and_no_stack(
    command_line: Any, tiny: tuple[str, ...], tmp_path: Path, trainer: str
) -> None:
    done = command_line(*tiny, f"trainer={trainer}", "data.gates.rmse=-1", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "\ndata.gates.rmse is -1.0; it must be positive.\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.rglob("result.json")) == []


@pytest.mark.slow
def test_the_stack_of_a_mistake_can_be_had(command_line: Any, tiny: tuple[str, ...], tmp_path: Path) -> None:
    overrides = ("optimized_metric=val/luck", f"hydra.run.dir={tmp_path}")
    done = command_line(*tiny, *overrides, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "optimized_metric is 'val/luck', which is not measured; choose one of" in done.stderr
    assert "Traceback" in done.stderr


def test_a_finished_runs_config_is_a_config(
    command_line: Any, finished: Any, tmp_path: Path, clean_checkout: Callable[[], None]
) -> None:
    # the same model again, elsewhere, from the folder of a run alone
    words = ("--config-path", str(finished.folder), "--config-name", "config")
    done = command_line(*words, f"hydra.run.dir={tmp_path}", "hydra.output_subdir=null")
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((folder / "result.json").read_text()) for folder in (finished.folder, tmp_path))
    assert second["config_hash"] == first["config_hash"]
    assert second["measures"] == first["measures"]
    assert (tmp_path / "config.yaml").read_text() == (finished.folder / "config.yaml").read_text()
    clean_checkout()


def test_a_sweep_of_vectors(command_line: Any, vectors: tuple[str, ...], tmp_path: Path) -> None:
    small = ("debug=fast_dev_run", "data.evaluation.references=0")
    done = command_line("-m", *vectors, *small, "model=branches,auto", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    by_name = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.rglob("result.json")}
    # named by what differs; the chosen members are known by name
    assert {name: record["config"]["choices"]["model"] for name, record in by_name.items()} == {
        "model=auto": "auto", "model=branches": "branches"
    }  # fmt: skip
    found = list(by_name.values())
    assert [record["status"] for record in found] == ["finished"] * 2
    assert {record["config"]["data"]["_target_"] for record in found} == {"cvae.data.Vectors"}
    assert {record["config"]["choices"]["data"] for record in found} == {"vector"}
    # the recipe takes branches, so both are one run, in two folders
    assert len({record["config_hash"] for record in found}) == 1
    assert done.stdout.count("the solutions of one y form a continuum") == 2


def test_an_unknown_choice_lists_the_known_ones(command_line: Any, tmp_path: Path) -> None:
    done = command_line("model=huge", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "Could not find 'model/huge'" in done.stderr
    assert "\tdense\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_used_gives_one_message(command_line: Any, tiny: tuple[str, ...]) -> None:
    done = command_line(*tiny, "hydra.run.dir=/dev/null/run")
    assert done.returncode == 1
    assert done.stderr.startswith("/dev/null/run: cannot be used (Not a directory).")
    assert done.stderr.count("\n") == 1
