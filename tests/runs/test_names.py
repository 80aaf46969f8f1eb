"""Names of folders: those of a sweep's jobs last, and processes that are started together share one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from cvae.errors import UserError
from cvae.runs.compose import compose
from cvae.runs.folder import Start, mark_running
from cvae.runs.names import check_choices, run_name, shared_name


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


def test_a_key_is_cut_to_its_end_where_that_tells_it_apart() -> None:
    assert run_name(["optimizer.lr=0.1", "+model/head=values"]) == "head=values,lr=0.1"
    assert run_name(["optimizer.lr=0.1", "scheduler.lr=2"]) == "optimizer.lr=0.1,scheduler.lr=2"


def test_names_of_one_sweep_are_cut_alike_whatever_their_length() -> None:
    words = [f"data.source.number{n}=1" for n in range(6)]
    names = [run_name([*words, f"model.latent_dim={value}"]) for value in (3, "9" * 60)]
    assert all(name.startswith("number0=1,number1=1,number2=1,") and ",latent_dim=" in name for name in names)


def test_what_all_jobs_share_is_left_out() -> None:
    words = ["model=deep", "seed=1", "trainer.max_epochs=2"]
    assert run_name(words, ["trainer.max_epochs"]) == "model=deep,seed=1"
    assert run_name(words, ["model", "seed", "trainer.max_epochs"]) == "model=deep,seed=1,max_epochs=2"


def begin(sweep_dir: Path, name: str, overrides: list[str]) -> None:
    mark_running(sweep_dir / name, Start("hash"), {}, overrides)


def test_a_job_that_has_begun_keeps_its_folder_when_the_sweep_grows(tmp_path: Path) -> None:
    begin(tmp_path, "loss=mse", ["seed=1", "loss=mse"])
    # seed had one value first, and has two now
    assert run_name(["loss=mse", "seed=1"], [], str(tmp_path)) == "loss=mse"
    assert run_name(["loss=mse", "seed=2"], [], str(tmp_path)) == "loss=mse,seed=2"


def test_a_job_gets_no_folder_of_a_job_with_another_shared_override(tmp_path: Path) -> None:
    begin(tmp_path, "seed=1", ["seed=1", "trainer.max_epochs=2"])
    other = run_name(["seed=1", "trainer.max_epochs=4"], ["trainer.max_epochs"], str(tmp_path))
    assert re.fullmatch("seed=1-[0-9a-f]{8}", other)
    begin(tmp_path, other, ["trainer.max_epochs=4", "seed=1"])
    for epochs, name in ((2, "seed=1"), (4, other)):
        assert run_name(["seed=1", f"trainer.max_epochs={epochs}"], ["trainer.max_epochs"], str(tmp_path)) == name


def test_a_damaged_record_stops_its_own_job_alone(tmp_path: Path) -> None:
    begin(tmp_path, "seed=1", ["seed=1"])
    (tmp_path / "seed=1" / "result.json").write_text("{")
    # where the launch says that the record cannot be read
    assert run_name(["seed=1"], [], str(tmp_path)) == "seed=1"
    assert run_name(["seed=2"], [], str(tmp_path)) == "seed=2"


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


@pytest.mark.parametrize("word", ["data=null", "optimizer=5", "+experiment=1.5", "model/latent=true"])
def test_what_chooses_a_member_of_a_group_is_a_name(word: str) -> None:
    group = word.lstrip("+").partition("=")[0]
    with pytest.raises(UserError, match=rf"{group} must name a member of conf/{group}: \w+, ") as refused:
        check_choices(["seed=1", word])
    assert str(refused.value).startswith(f"{word}: ")
    with pytest.raises(UserError, match="must name a member"):
        compose("train", [word])


def test_other_words_are_left_to_hydra() -> None:
    check_choices(["-m", "data=lines,product", "model/latent=[student_t,mmd]", "data.points=null", "~logger", "loss=("])
