"""Which number a process has, and the name that processes started together share."""

from __future__ import annotations

import pytest
from torch.distributed import TCPStore

from cvae.runs.ranks import rank, shared_name, started, started_together

VARIABLES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE",
    "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS",
)  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_a_process_that_is_alone_keeps_its_name() -> None:
    assert (rank(), started(), started_together(), shared_name("now")) == (0, 1, False, "now")


def test_processes_of_torchrun_take_the_first_name(monkeypatch: pytest.MonkeyPatch) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RUN_ID": "none",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
    }.items():
        monkeypatch.setenv(name, value)
    assert started_together()
    assert [shared_name(name) for name in ("12-00-01", "12-00-02")] == ["12-00-01", "12-00-01"]


def test_tasks_of_srun_share_a_name_that_a_requeued_job_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "3", "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert (rank(), started(), started_together(), shared_name("now")) == (1, 2, True, "slurm-17.3")


def test_a_single_task_of_srun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "3", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert (rank(), started(), started_together(), shared_name("now")) == (0, 1, False, "now")
