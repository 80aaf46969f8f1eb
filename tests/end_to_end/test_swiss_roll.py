"""The energy model of the swiss roll from the shipped experiment to pictures, measures and draws."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from omegaconf import DictConfig

from cvae import CVAE
from cvae.errors import UserError
from cvae.generation import Plan, generate
from cvae.models import EnergyModel, Generative
from cvae.runs.launch import run

Shipped = Callable[..., DictConfig]

TINY = (
    "experiment=swiss_roll",
    "trainer.max_epochs=3",
    "trainer.check_val_every_n_epoch=1",
    "data.train=128",
    "data.batch_size=64",
    "data.validation=40",
    "data.test=40",
    "loss.chains=100",
    "evaluation.draws=20",
    "evaluation.steps=5",
    "model.hidden=[16]",
)
STEP_SIZES = ("0.1", "0.01", "0.001")


class Stop(Callback):
    """Raises in the second step of the last epoch."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 6:
            raise RuntimeError("power cut")


def small(shipped: Shipped, *words: str) -> DictConfig:
    return shipped(*TINY, *words, small=("~callbacks.progress",))


def measures_of(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "result.json").read_text())["measures"]
    return found


@pytest.mark.parametrize("chains", [100, 0])
def test_a_run_has_measures_and_pictures_and_goes_on_to_the_same_weights(
    shipped: Shipped, tmp_path: Path, chains: int
) -> None:
    plain = () if chains else ("loss.chains=0", "loss.restarts=0")
    run(small(shipped, *plain), tmp_path / "whole")
    measures = measures_of(tmp_path / "whole")
    names = ("mmd", "mmd_ratio", "sliced_wasserstein", "sliced_wasserstein_ratio", "diverged")
    assert {f"test/eps_{size}/{name}" for size in STEP_SIZES for name in names} <= set(measures)
    assert {f"{stage}/{name}" for stage in ("val", "test") for name in names} <= set(measures)
    assert {"test/log_likelihood", "train/energy_chains", "val/energy_data", "train/diverged"} <= set(measures)
    assert {path.stem for path in (tmp_path / "whole" / "figures").iterdir()} == {"points", "langevin"}
    with pytest.raises(RuntimeError, match="power cut"):
        run(small(shipped, *plain), tmp_path / "broken", callbacks=[Stop()])
    run(small(shipped, *plain), tmp_path / "broken")
    first, second = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    )
    assert first["chains"].shape == (chains, 2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert measures_of(tmp_path / "broken") == measures


def test_a_checkpoint_is_that_of_an_energy_model(shipped: Shipped, tmp_path: Path) -> None:
    run(small(shipped, "trainer.max_epochs=1"), tmp_path)
    path = tmp_path / "checkpoints" / "best.ckpt"
    model = Generative.load(path)
    assert isinstance(model, EnergyModel)
    assert torch.equal(EnergyModel.load(path).chains, model.chains)
    with pytest.raises(UserError, match=r"best\.ckpt: its loss is that of EnergyModel, but .* CVAE is needed here"):
        CVAE.load(path)
    y = model.task.conditions([])  # type: ignore[attr-defined]
    cold, own = (
        generate(model, model.task, y, Plan(draws=7, temperature=temperature))  # type: ignore[call-overload]
        for temperature in (0.1, None)
    )
    assert cold.x.shape == (1, 7, 2)
    assert not torch.equal(cold.x, own.x)
    assert torch.equal(own.x, generate(model, model.task, y, Plan(draws=7)).x)  # type: ignore[call-overload]


@pytest.mark.parametrize("words", [("trainer=ddp_cpu",), ("trainer.devices=2", "+trainer.strategy=ddp")])
def test_several_processes_are_refused(shipped: Shipped, tmp_path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"trainer\.devices is 2, but an energy model is trained by one process"):
        run(small(shipped, *words), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_draws_are_nearly_as_near_to_the_roll_as_other_real_points(shipped: Shipped, tmp_path: Path, seed: int) -> None:
    run(shipped("experiment=swiss_roll", f"seed={seed}", small=("~callbacks.progress",)), tmp_path)
    found = measures_of(tmp_path)
    assert found["test/eps_0.01/mmd_ratio"] < 1.5
    assert found["test/eps_0.01/mmd_ratio"] < min(found["test/eps_0.1/mmd_ratio"], found["test/eps_0.001/mmd_ratio"])
