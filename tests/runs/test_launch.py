"""How many processes a run starts, and what it says when they fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from omegaconf import OmegaConf

from cvae.errors import DiskError, DivergedError, UserError, user_message
from cvae.files import write_json
from cvae.runs import launch
from cvae.runs.folder import Start, identify
from cvae.runs.launch import run, wanted_processes
from cvae.runs.locks import in_use
from cvae.runs.settle import settle
from cvae.runs.train import settings_of


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
        # as Lightning reads them: the device of that number, and how many
        ("ddp", "gpu", "2,", 1),
        ("ddp", "gpu", "2", 2),
        ("ddp", "gpu", "-1", 3),
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
    with pytest.raises(UserError, match=r"3 processes were started together, but the trainer asks for [12]: "):
        wanted_processes(shipped(f"trainer={trainer}"))


def test_several_machines_need_a_launcher(shipped: Any) -> None:
    with pytest.raises(UserError, match=r"trainer\.num_nodes is 2, but this process was started alone"):
        wanted_processes(shipped("trainer=ddp_cpu", "trainer.num_nodes=2"))


def test_one_process_trains_here(shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cfg, seen = shipped(), []
    before = OmegaConf.to_yaml(cfg)
    monkeypatch.setattr(launch, "train", lambda *given: seen.append(given) or 0.25)
    assert run(cfg, tmp_path / "run", ["seed=0"]) == 0.25
    assert OmegaConf.to_yaml(cfg) == before
    ((used, run_dir, start, overrides, callbacks),) = seen
    assert (run_dir, start, overrides, callbacks) == (
        tmp_path / "run", Start(identify(settings_of(used))), ["seed=0"], ()
    )  # fmt: skip
    # what it trains with is what the folder says
    assert used == settle(cfg) == OmegaConf.load(tmp_path / "run" / "config.yaml")


class Agent:
    """Stands in for the process that starts the others."""

    ended = False

    def __init__(self, command: list[str], **options: Any) -> None:
        self.command = command

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self) -> int:
        raise SystemExit(143)

    def terminate(self) -> None:
        type(self).ended = True


def test_a_stop_ends_the_processes(shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "Popen", Agent)
    with pytest.raises(SystemExit) as caught:
        run(shipped("trainer=ddp_cpu"), tmp_path)
    assert (caught.value.code, Agent.ended) == (143, True)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "running"
    assert not in_use(tmp_path)


def test_several_processes_that_diverge_give_the_reason(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fake(agent: Agent) -> int:
        record = json.loads((tmp_path / "result.json").read_text())
        write_json(tmp_path / "result.json", record | {"status": "diverged", "error": "not finite in step 3"})
        return 1

    monkeypatch.setattr(Agent, "wait", fake)
    monkeypatch.setattr(subprocess, "Popen", Agent)
    with pytest.raises(DivergedError, match="not finite in step 3"):
        run(shipped("trainer=ddp_cpu"), tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "diverged"


def test_several_processes_get_the_settled_config_and_give_back_the_value(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fake(agent: Agent) -> int:
        assert agent.command[-2:] == ["2", str(tmp_path)]
        cfg = OmegaConf.load(tmp_path / "config.yaml")
        assert cfg.trainer.devices == 2
        assert cfg.loss.beta == 1.6e-3
        record = json.loads((tmp_path / "result.json").read_text())
        assert (record["status"], record["overrides"]) == ("running", ["trainer=ddp_cpu"])
        assert record["config_hash"] == identify(settings_of(cfg))
        write_json(tmp_path / "result.json", record | {"status": "finished", "value": 0.25})
        return 0

    monkeypatch.setattr(Agent, "wait", fake)
    monkeypatch.setattr(subprocess, "Popen", Agent)
    assert run(shipped("trainer=ddp_cpu"), tmp_path, ["trainer=ddp_cpu"]) == 0.25


@pytest.mark.parametrize("code", [0, 1])
def test_processes_that_leave_no_result_have_failed(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    monkeypatch.setattr(Agent, "wait", lambda _: code)
    monkeypatch.setattr(subprocess, "Popen", Agent)
    with pytest.raises(UserError, match="one of 2 processes failed"):
        run(shipped("trainer=ddp_cpu"), tmp_path)
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["status"] == "failed"
    assert "one of 2 processes failed" in record["error"]


def test_further_callbacks_need_one_process(shipped: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="callbacks beside the config's need one process, but the trainer asks for 2"):
        run(shipped("trainer=ddp_cpu"), tmp_path, callbacks=[Callback()])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("optimized_metric=val/luck", "optimized_metric is 'val/luck', which is not measured;"),
        ("model=dense model.hidden=[0]", "model.hidden is [0]; give layer sizes of at least 1, for example [256, 256]"),
        ("+model.hidden=[0]", "model.hidden is [0]; give layer sizes of at least 1, for example [256, 256]"),
        ("model.latent_dim=0", "model.latent_dim is 0; it must be at least 1."),
        ("data=two_birds +model.components=1", "model.components is 1; it must be at least 2."),
        ("model=starter data.points=10", "model=starter needs lines of at least 23 points; here they have 10."),
        ("model=starter data=sine_wave", "model=starter is made for lines, not for solutions of shape (2,);"),
        ("scheduler.warmup=2", "scheduler.warmup is 2; it is a share of training, at least 0 and below 1."),
        ("scheduler.floor=5", "scheduler.floor is 5; it is a share of the learning rate, from 0 to 1."),
        ("loss.beta=-1", "loss.beta is -1; it must be a number of at least 0."),
        ("loss.y_term.start=2", "loss.y_term.start is 2; it must be at least 0 and below 1."),
        ("loss.likelihood=abs", "loss.likelihood is 'abs'; it must be a mapping with _target_."),
        ("generation.candidates=3", "generation.candidates is 3; it must be at least generation.draws, 5."),
        ("data=two_birds generation.oversample=4", "generation.oversample is 4, but the solutions of one y are"),
        ("generation.draws=0", "generation.draws is 0; it must be at least 1."),
        ("generation.temperature=2.0", "generation.temperature is 2.0, but a training makes plain draws with evaluat"),
        ("evaluation.draws=0", "evaluation.draws is 0; it must be a whole number of at least 1."),
        ("data.batch_size=0", "data.batch_size is 0; it must be at least 1."),
        ("data.tolerance=-1", "data.tolerance is -1; it must be 0 or more."),
        ("data.source.train=0", "data.source.train is 0; it must be at least 1."),
        ("data.evaluation.validation=0", "data.evaluation.validation is 0; it must be at least 1."),
        ("callbacks.figures.every_epochs=0", "callbacks.figures has every_epochs=0 and conditions=4; both must be at"),
        ("callbacks.collapse.least_kl=0", "callbacks.collapse has least_kl=0, patience=2 and least_steps=1000; they"),
        ("callbacks.checkpoint.mode=up", "callbacks.checkpoint: `mode` can be m"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_before_anything_is_written_or_started(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, overrides: str, message: str
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(Exception, match=r".") as caught:
        run(shipped("trainer=ddp_cpu", *overrides.split()), tmp_path)
    said = user_message(caught.value)
    assert said is not None
    assert said.startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_needs_a_forward_operator_is_refused_without_one(shipped: Any, tmp_path: Path) -> None:
    message = (
        r"^generation asks to choose or refine draws, but .* no forward operator .* set generation\.oversample=1\."
    )
    with pytest.raises(UserError, match=message):
        run(shipped("experiment=mixture", "generation.oversample=4", small=()), tmp_path)
    assert list(tmp_path.iterdir()) == []


class Fails(Callback):
    """Raises in the first step."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def on_train_batch_end(self, *_: Any) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "told", "stack"),
    [
        (ValueError("shapes differ"), "ValueError: shapes differ", True),
        (UserError("y is odd."), "y is odd.", False),
    ],
)
def test_a_bug_keeps_its_stack_and_a_mistake_has_none(
    shipped: Any, tmp_path: Path, error: Exception, told: str, stack: bool
) -> None:
    with pytest.raises(type(error)):
        run(shipped("logger={}", "data.evaluation.references=0"), tmp_path, callbacks=[Fails(error)])
    record = json.loads((tmp_path / "result.json").read_text())
    assert (record["status"], record["error"]) == ("failed", told)
    assert (record["stack"] is not None) is stack
    assert not stack or "on_train_batch_end" in record["stack"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["optimizer=adamw", "optimizer.lr=1e30"],
            r"not finite in step 2 of epoch 1: .*loss.*Lower optimizer\.lr \(now 1e\+30\)",
        ),
        (["loss.beta=1e308"], r"not finite in step 1 of epoch 1: loss\. .*lower .*loss\.beta"),
    ],
)
def test_a_training_that_diverges_is_no_success(shipped: Any, tmp_path: Path, overrides: list[str], told: str) -> None:
    with pytest.raises(DivergedError, match=told):
        run(shipped("logger={}", "data.evaluation.references=0", "model=dense", *overrides), tmp_path)
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["status"] == "diverged"
    assert "not finite in step" in record["error"]
    assert record["stack"] is None
    assert list(tmp_path.rglob("*.ckpt")) == []


class Terminates(Callback):
    """Asks its own process to end."""

    def on_train_batch_end(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_training_from_python_that_is_asked_to_end_has_a_status(shipped: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run(shipped("logger={}", "data.evaluation.references=0"), tmp_path, callbacks=[Terminates()])
    assert caught.value.code == 143
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "running"


class Removes(Callback):
    """Removes the folder of the run in its first epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, *_: Any) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.mark.parametrize("words", [["logger={}"], ["trainer.max_epochs=3"]])
def test_a_folder_that_is_removed_during_a_run_is_one_message(shipped: Any, tmp_path: Path, words: list[str]) -> None:
    own = tmp_path / "run"
    with pytest.raises(DiskError, match=r"run: was removed during the run"):
        run(shipped("data.evaluation.references=0", *words), own, callbacks=[Removes(own)])
    assert not list(own.glob("*.json"))


def test_a_folder_with_links_is_refused_before_anything_is_written(shipped: Any, tmp_path: Path) -> None:
    victim, own = tmp_path / "victim", tmp_path / "run"
    victim.mkdir()
    own.mkdir()
    (own / "checkpoints").symlink_to(victim)
    with pytest.raises(UserError, match="checkpoints: is a link, but a run needs a folder there"):
        run(shipped(), own)
    assert [path.name for path in tmp_path.rglob("*")].count("config.yaml") == 0
    assert list(victim.iterdir()) == []
