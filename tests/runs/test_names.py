"""Names of folders: those of a sweep's jobs last, and processes that are started together share one."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torch.distributed import TCPStore

from cvae.runs.names import run_name, shared_name


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_USE_AGENT_STORE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def test_names_need_no_torch() -> None:
    code = "import sys, cvae.runs.names; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_is_made_of_the_overrides_alone() -> None:
    assert run_name(["seed=1", "model=deep", "loss=huber"]) == "loss=huber,model=deep,seed=1"
    assert run_name(["loss=huber", "seed=1", "model=deep"]) == "loss=huber,model=deep,seed=1"
    assert run_name([]) == "default"


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.forward=['x0 * x1/2']"],
        ["~callbacks.last"],
        ["+trainer.plugins=[{a: 1}]"],
        ["data.source.train=/home/me/../x"],
        [f"a.b.c{number}={number}" for number in range(100)],
        ["x=" + "y" * 400],
    ],
)
def test_a_name_is_fit_for_a_folder(overrides: list[str]) -> None:
    name = run_name(overrides)
    assert len(name) < 120
    assert not set(name) & set("/\\[]{}'\"*?<>|:~ \n")
    # what was replaced or cut away still tells names apart
    assert run_name([*overrides[:-1], overrides[-1] + "/"]) != name


def test_a_long_name_starts_with_the_groups() -> None:
    name = run_name([*(f"data.source.number{n}={n}" for n in range(20)), "seed=1", "model=deep"])
    assert name.startswith("model=deep,seed=1,number0=0,")


def test_a_process_that_is_alone_keeps_its_name() -> None:
    assert shared_name("now") == "now"


def test_tasks_of_srun_share_a_name_that_a_requeued_job_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    assert shared_name("now") == "slurm-17.3"


def test_processes_of_torchrun_take_the_first_name(monkeypatch: pytest.MonkeyPatch) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RUN_ID": "none",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
    }.items():
        monkeypatch.setenv(name, value)
    assert [shared_name(name) for name in ("12-00-01", "12-00-02")] == ["12-00-01", "12-00-01"]
