"""``python train.py``: one process, several, sweeps and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from lightning import Trainer

from cvae import CVAE
from cvae.training import quiet


def test_a_sweep_leaves_one_folder_per_job(
    command_line: Any, tiny: tuple[str, ...], tmp_path: Path, clean_checkout: Callable[[], None]
) -> None:
    done = command_line("-m", *tiny, "model=dense,deep", "loss=huber", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "multirun.yaml"}
    targets = [json.loads((tmp_path / job / "result.json").read_text())["config"]["model"]["_target_"] for job in "01"]
    assert targets == ["cvae.networks.dense", "cvae.networks.deep"]
    clean_checkout()


def test_two_processes_leave_one_folder_and_measure_like_one(
    command_line: Any, tiny: tuple[str, ...], tmp_path: Path, clean_checkout: Callable[[], None]
) -> None:
    done = command_line(*tiny, "trainer=ddp_cpu", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert done.stdout.count("TensorBoard:") == 1
    clean_checkout()

    result = json.loads((tmp_path / "run" / "result.json").read_text())
    model = CVAE.load(tmp_path / "run" / result["checkpoint"])
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path / "one"
    )
    data = instantiate(result["config"]["data"])
    with quiet():
        alone = trainer.validate(model, data, verbose=False)[0] | trainer.test(model, data, verbose=False)[0]
    # these hold samples of the posterior, which are others in each process
    noisy = {"loss", "x_term", "y_term", "information"}
    same = {name: value for name, value in alone.items() if name.split("/")[1] not in noisy}
    assert {"val/score", "test/coverage", "test/kl"} <= set(same)
    for name, value in same.items():
        assert result["measures"][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    for stage in ("val", "test"):
        assert result["measures"][f"{stage}/loss"] == pytest.approx(alone[f"{stage}/loss"], rel=0.3)


@pytest.mark.parametrize("trainer", ["default", "ddp_cpu"])
def test_a_mistake_gives_one_message_and_no_stack(
    command_line: Any, tiny: tuple[str, ...], tmp_path: Path, trainer: str
) -> None:
    done = command_line(*tiny, f"trainer={trainer}", "data.gates.rmse=-1", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "\ndata.gates.rmse is -1.0; it must be positive.\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "result.json").exists()


def test_the_stack_of_a_mistake_can_be_had(command_line: Any, tiny: tuple[str, ...], tmp_path: Path) -> None:
    overrides = ("optimized_metric=val/luck", f"hydra.run.dir={tmp_path}")
    done = command_line(*tiny, *overrides, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "optimized_metric is 'val/luck', which is not measured; choose one of" in done.stderr
    assert "Traceback" in done.stderr


def test_an_unknown_choice_lists_the_known_ones(command_line: Any, tmp_path: Path) -> None:
    done = command_line("model=huge", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "Could not find 'model/huge'" in done.stderr
    assert "\tdense\n" in done.stderr
    assert "Traceback" not in done.stderr
