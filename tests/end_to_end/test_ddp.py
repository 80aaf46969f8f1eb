"""Several processes that train one model: started here, by torchrun on two machines, by srun."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import OmegaConf

from cvae import CVAE
from cvae.runs.folder import identify
from cvae.runs.train import quiet, settings_of

ROOT = Path(__file__).resolve().parents[2]


def start(command: Sequence[str], words: Sequence[str], cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """Start ``train.py`` with ``command`` in the folder ``cwd``, where it shall leave its outputs and nothing else."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*command, str(ROOT / "train.py"), *words], cwd=cwd, env=environment, **pipes)


def two_processes(words: Sequence[str], folder: Path) -> Path:
    """The folder of a run of two processes."""
    process = start([sys.executable], [*words, "trainer=ddp_cpu", "hydra.run.dir=run"], folder)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    assert said.count("TensorBoard:") == 1
    assert said.count("the solutions of one y form") == 1
    assert [path.name for path in folder.iterdir()] == ["run"]
    return folder / "run"


@pytest.fixture(scope="module")
def started_here(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_processes(tiny, tmp_path_factory.mktemp("ddp"))


@pytest.fixture(scope="module")
def vectors_here(vectors: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_processes(vectors, tmp_path_factory.mktemp("ddp"))


def measures_of(run_dir: Path) -> dict[str, float]:
    """What a finished run has measured."""
    result = json.loads((run_dir / "result.json").read_text())
    assert result["status"] == "finished"
    return result["measures"]


@pytest.mark.parametrize("run", ["started_here", pytest.param("vectors_here", marks=pytest.mark.slow)])
def test_two_processes_measure_like_one(run: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run_dir = request.getfixturevalue(run)
    result = json.loads((run_dir / "result.json").read_text())
    # they read what the first process has settled
    assert identify(settings_of(OmegaConf.load(run_dir / "config.yaml"))) == result["config_hash"]
    model = CVAE.load(run_dir / result["checkpoint"])
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("experiment=mixture", "data=swiss_roll", "evaluation.draws=20"),
        ("experiment=sea_temperature", "data.evaluation={validation: 20, test: 20}", "evaluation.draws=2"),
    ],
)
def test_a_process_without_conditions_is_no_trouble(command_line: Any, words: tuple[str, ...], tmp_path: Path) -> None:
    few = ("trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "callbacks.figures=null")
    done = command_line(*words, *few, "trainer=ddp_cpu", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert {"mmd", "energy_score"} & {name.removeprefix("test/") for name in measures_of(tmp_path)}


@pytest.mark.slow
def test_each_job_of_a_sweep_has_one_folder_and_is_tested(
    command_line: Any, tiny: tuple[str, ...], tmp_path: Path, clean_checkout: Callable[[], None]
) -> None:
    sweep = ("-m", *tiny, "trainer=ddp_cpu", "model=dense,deep", f"hydra.sweep.dir={tmp_path}/sweep")
    done = command_line(*sweep)
    assert done.returncode == 0, done.stderr
    clean_checkout()
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]
    runs = sorted(path.parent for path in tmp_path.rglob("result.json"))
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {run.name for run in runs} | {"multirun.yaml"}
    targets = [json.loads((run / "result.json").read_text())["config"]["model"]["_target_"] for run in runs]
    assert sorted(targets) == ["cvae.networks.deep", "cvae.networks.dense"]
    assert all("test/score" in measures_of(run) for run in runs)

    # again: what has finished is not repeated
    again = command_line(*sweep)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished already") == 2


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def by_torchrun(number: int, port: str) -> tuple[list[str], dict[str, str]]:
    """Machine ``number`` of two, each with one process."""
    flags = ["--nnodes=2", f"--node-rank={number}", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    return [sys.executable, "-m", "torch.distributed.run", *flags, f"--master-port={port}"], {}


def by_srun(number: int, port: str) -> tuple[list[str], dict[str, str]]:
    """Task ``number`` of two on two machines, with the variables that srun sets."""
    step = {"SLURM_JOB_ID": "41", "SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_NAME": "train"}
    size = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2", "SLURM_NODELIST": "127.0.0.1"}
    place = {"SLURM_PROCID": str(number), "SLURM_NODEID": str(number), "SLURM_LOCALID": "0"}
    return [sys.executable], {**step, **size, **place, "MASTER_PORT": port}


@pytest.mark.parametrize("launcher", [by_torchrun, pytest.param(by_srun, marks=pytest.mark.slow)])
def test_processes_started_on_two_machines_share_one_folder_and_train_alike(
    launcher: Callable[[int, str], tuple[list[str], dict[str, str]]],
    started_here: Path,
    tiny: Sequence[str],
    tmp_path: Path,
) -> None:
    port = free_port()
    processes = []
    for number in range(2):
        command, variables = launcher(number, port)
        words = [*tiny, "trainer=ddp_cpu", "trainer.devices=1", "trainer.num_nodes=2"]
        processes.append(start(command, words, tmp_path, **variables))
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    # the second one says nothing that the first one has said
    assert [text.count("TensorBoard:") for text in said] == [1, 0]

    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    (run_dir,) = (tmp_path / "outputs" / "train").iterdir()
    if launcher is by_srun:
        assert run_dir.name == "slurm-41.2"
    assert measures_of(run_dir) == pytest.approx(measures_of(started_here), rel=1e-4, abs=1e-6)
