"""How many processes a run starts, and what it says when they fail."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from cvae.files import write_json
from cvae.runs import launch
from cvae.runs.launch import run, wanted_processes


@pytest.fixture(autouse=True)
def not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "LOCAL_RANK", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


@pytest.mark.parametrize(
    ("strategy", "accelerator", "devices", "processes"),
    [
        ("auto", "cpu", 1, 1),
        # which Lightning would take for DDP, with a launcher of its own
        ("auto", "cpu", 4, 4),
        ("auto", "gpu", 2, 2),
        ("auto", "auto", "auto", 3),
        ("fsdp", "gpu", 2, 1),
        ("ddp", "cpu", 2, 2),
        ("ddp", "cpu", "auto", 1),
        ("ddp_find_unused_parameters_true", "cpu", 2, 2),
        ("ddp", "gpu", -1, 3),
        ("ddp", "gpu", "auto", 3),
        ("ddp", "gpu", 2, 2),
        ("ddp", "gpu", [0, 2], 2),
        ("ddp", "gpu", "0,1", 2),
    ],
)
def test_processes_are_as_many_as_the_trainer_names(
    strategy: str, accelerator: str, devices: Any, processes: int
) -> None:
    trainer = {"strategy": strategy, "accelerator": accelerator, "devices": devices}
    assert wanted_processes(OmegaConf.create({"trainer": trainer})) == processes


@pytest.mark.parametrize(
    "variables",
    [
        {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "4"},
        {"LOCAL_RANK": "0", "WORLD_SIZE": "4"},
        {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"},
    ],
)
def test_no_process_is_started_where_others_have_started_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    trainer = {"strategy": "ddp", "accelerator": "cpu", "devices": 2, "num_nodes": 2}
    assert wanted_processes(OmegaConf.create({"trainer": trainer})) == 1


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
        # a batch script that was given two tasks, but has not called srun
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
    ],
)
def test_a_single_task_of_slurm_starts_its_processes_itself(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wanted_processes(OmegaConf.create({"trainer": {"strategy": "ddp", "accelerator": "cpu", "devices": 2}})) == 2


@pytest.mark.parametrize("trainer", ["default", "ddp_cpu"])
def test_processes_that_the_trainer_does_not_ask_for_are_refused(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"3 processes were started together, but the trainer asks for [12]: "):
        wanted_processes(shipped(f"trainer={trainer}"))


def test_several_machines_need_a_launcher(shipped: Any) -> None:
    with pytest.raises(ValueError, match=r"trainer\.num_nodes is 2, but this process was started alone"):
        wanted_processes(shipped("trainer=ddp_cpu", "trainer.num_nodes=2"))


def test_one_process_trains_here(shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launch, "train", lambda cfg, run_dir, overrides, callbacks, start: (run_dir, overrides))
    assert run(shipped(), tmp_path / "run", ["seed=0"]) == (tmp_path / "run", ["seed=0"])
    assert (tmp_path / "run").is_dir()


def test_several_processes_get_the_composed_config_and_give_back_the_value(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fake(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert "--nproc-per-node=2" in command
        assert OmegaConf.load(tmp_path / "config.yaml").trainer.devices == 2
        assert json.loads((tmp_path / "overrides.json").read_text()) == ["trainer=ddp_cpu"]
        record = json.loads((tmp_path / "result.json").read_text())
        assert record["status"] == "running"
        write_json(tmp_path / "result.json", record | {"status": "finished", "value": 0.25})
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", fake)
    assert run(shipped("trainer=ddp_cpu"), tmp_path, ["trainer=ddp_cpu"]) == 0.25


@pytest.mark.parametrize("code", [0, 1])
def test_processes_that_leave_no_result_have_failed(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, code))
    with pytest.raises(ChildProcessError, match="one of 2 processes failed"):
        run(shipped("trainer=ddp_cpu"), tmp_path)
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["status"] == "failed"
    assert "one of 2 processes failed" in record["error"]


def test_a_mistake_is_found_before_any_process_starts(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(ValueError, match=r"optimized_metric is 'val/luck'"):
        run(shipped("trainer=ddp_cpu", "optimized_metric=val/luck"), tmp_path)
