"""``python train.py``: sweeps and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_sweep_leaves_one_folder_per_job(
    command_line: Any, tiny: tuple[str, ...], tmp_path: Path, clean_checkout: Callable[[], None]
) -> None:
    done = command_line("-m", *tiny, "model=dense,deep", "loss=huber", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "multirun.yaml"}
    targets = [json.loads((tmp_path / job / "result.json").read_text())["config"]["model"]["_target_"] for job in "01"]
    assert targets == ["cvae.networks.dense", "cvae.networks.deep"]
    clean_checkout()


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
