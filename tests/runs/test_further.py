"""Trainings that end early, go on from another run, or begin with its weights."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cvae.errors import UserError
from cvae.models.checkpoints import read_content
from cvae.runs.checkpoint_checks import check_continuable
from cvae.runs.compose import compose
from cvae.runs.launch import run
from cvae.runs.settle import settle
from cvae.runs.train import build
from tests.conftest import SMALL

Shipped = Callable[..., DictConfig]
PLAIN = (
    "optimizer=adamw",
    "optimizer.lr=0.003",
    "loss.set_objective.weight=0",
    "model=dense",
    "model.hidden=[8]",
    "recipe.separate=false",
    "recipe.y_term=true",
    "data.evaluation.references=0",
    "callbacks.figures=null",
    "logger.tensorboard=null",
    "test=false",
)


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def assert_equal_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def rates(folder: Path) -> list[float]:
    with (folder / "csv" / "metrics.csv").open() as file:
        return [float(row["train/lr"]) for row in csv.DictReader(file) if row["train/lr"]]


# --- early stopping


def test_a_training_that_no_longer_improves_ends_with_its_pictures(
    shipped: Shipped, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # a gate that nothing passes: no epoch is better than the first
    words = ("data.gates.rmse=1e-6", "callbacks=early_stopping", "callbacks.stop.patience=2", "trainer.max_epochs=9")
    plain = [word for word in PLAIN if not word.startswith(("callbacks.figures", "logger"))]
    with caplog.at_level("INFO"):
        run(
            shipped(*plain, *words, "callbacks.figures={every_epochs: 9, conditions: 1}", small=SMALLER),
            tmp_path / "run",
        )
    assert "a callback ended the training after epoch 3." in caplog.messages
    assert result(tmp_path / "run")["status"] == "finished"
    assert checkpoint(tmp_path / "run")["epoch"] == 2
    board = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert {image.step for tag in board.Tags()["images"] for image in board.Images(tag)} == {6}


def test_a_training_that_had_ended_early_is_not_resumed_to_other_weights(shipped: Shipped, tmp_path: Path) -> None:
    words = ("data.gates.rmse=1e-6", "callbacks=early_stopping", "callbacks.stop.patience=1", "trainer.max_epochs=9")
    cfg = shipped(*PLAIN, *words, small=SMALLER)
    run(cfg, tmp_path / "run")
    before, record = checkpoint(tmp_path / "run"), result(tmp_path / "run")
    # killed between the last epoch and the record
    (tmp_path / "run" / "result.json").write_text(json.dumps(record | {"status": "running"}))
    run(cfg, tmp_path / "run")
    assert checkpoint(tmp_path / "run")["epoch"] == before["epoch"] == 1
    assert_equal_weights(checkpoint(tmp_path / "run")["state_dict"], before["state_dict"])
    assert result(tmp_path / "run")["measures"] == record["measures"]
    # with more epochs, another run does train on, and its own patience counts
    words = going_on(tmp_path / "run", *words[:2], "callbacks.stop.patience=3", "trainer.max_epochs=9")
    run(shipped(*words, small=SMALLER), tmp_path / "longer")
    assert checkpoint(tmp_path / "longer")["epoch"] == 5


#: of the shipped config, without an end that other tests set
SMALLER = tuple(word for word in SMALL if not word.startswith("trainer.max_epochs"))


def test_any_callback_of_lightning_can_be_added(shipped: Shipped, tmp_path: Path) -> None:
    words = (
        "+callbacks.stop={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/loss,stopping_threshold:1e9}"
    )
    run(shipped(*PLAIN, words, "trainer.max_epochs=9", small=SMALLER), tmp_path / "run")
    assert checkpoint(tmp_path / "run")["epoch"] == 0
    assert result(tmp_path / "run")["config"]["callbacks"]["stop"]["stopping_threshold"] == 1e9


# --- more epochs


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs of two steps, at a constant learning rate."""
    folder = tmp_path_factory.mktemp("begun")
    words = (f"data.cache={folder}", "scheduler=none", "trainer.max_epochs=2")
    run(compose("train", [*SMALLER, *PLAIN, *words]), folder / "run")
    return folder / "run"


def going_on(begun: Path, *words: str) -> list[str]:
    return [*PLAIN, f"ckpt_path={begun}/checkpoints/last.ckpt", *words]


def test_going_on_ends_where_one_long_training_does(
    shipped: Shipped, begun: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    longer = ("scheduler=none", "trainer.max_epochs=4")
    with caplog.at_level("INFO", "cvae"):
        run(shipped(*going_on(begun, *longer), small=SMALLER), tmp_path / "longer")
    assert f"going on from {begun}/checkpoints/last.ckpt, after epoch 2." in caplog.text
    run(shipped(*PLAIN, *longer, small=SMALLER), tmp_path / "whole")
    first, second = checkpoint(tmp_path / "longer"), checkpoint(tmp_path / "whole")
    assert (first["epoch"], first["global_step"]) == (second["epoch"], second["global_step"]) == (3, 8)
    assert_equal_weights(first["state_dict"], second["state_dict"])
    found = result(tmp_path / "longer")
    assert found["checkpoint"] == "checkpoints/best.ckpt"
    assert found["resumed"] == []
    assert found["config"]["ckpt_path"] == f"{begun}/checkpoints/last.ckpt"
    assert found["config_hash"] != result(tmp_path / "whole")["config_hash"]
    assert len(rates(tmp_path / "longer")) == 2
    assert before == {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}


class PowerCut(Callback):
    """Ends the fourth epoch in its middle."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 7:
            raise RuntimeError("power cut")


def test_a_training_that_goes_on_can_be_interrupted(shipped: Shipped, begun: Path, tmp_path: Path) -> None:
    words = going_on(begun, "scheduler=none", "trainer.max_epochs=4")
    run(shipped(*words, small=SMALLER), tmp_path / "unbroken")
    with pytest.raises(RuntimeError, match="power cut"):
        run(shipped(*words, small=SMALLER), tmp_path / "broken", callbacks=[PowerCut()])
    run(shipped(*words, small=SMALLER), tmp_path / "broken")
    assert result(tmp_path / "broken")["resumed"] == [3]
    assert result(tmp_path / "broken")["measures"] == result(tmp_path / "unbroken")["measures"]
    folders = tmp_path / "broken", tmp_path / "unbroken"
    for name in ("last", "best"):
        assert_equal_weights(*(checkpoint(folder, name)["state_dict"] for folder in folders))


def test_the_schedule_is_laid_over_all_epochs(shipped: Shipped, tmp_path: Path) -> None:
    cosine = ("scheduler=cosine", "scheduler.warmup=0.0", "optimizer.lr=0.01")
    run(shipped(*PLAIN, *cosine, "trainer.max_epochs=2", small=SMALLER), tmp_path / "begun")
    words = going_on(tmp_path / "begun", *cosine, "trainer.max_epochs=4")
    run(shipped(*words, small=SMALLER), tmp_path / "longer")
    # of eight steps in all, where the third and the fourth epoch end
    expected = [0.01 * (1 + math.cos(math.pi * share)) / 2 for share in (6 / 8, 1)]
    assert rates(tmp_path / "longer") == pytest.approx(expected, abs=1e-9)
    assert rates(tmp_path / "begun")[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.max_epochs=2"], r"trainer\.max_epochs is 2, but .*last\.ckpt has 2 epochs already; set it higher"),
        (["trainer.max_epochs=4", "model.hidden=[9]"], r"its weights do not fit this model: network\.\S+ is \(8"),
        (["trainer.max_epochs=-1", "+trainer.max_steps=4"], r"trainer\.max_steps is 4, but .* has 4 steps already"),
        (["trainer.max_epochs=4", "optimizer.lr=0.1"], r"lr is 0\.003 there and 0\.1 here\. .* init_from=.*last\.ckpt"),
        (
            ["trainer.max_epochs=4", "optimizer=adam", "optimizer.lr=0.003"],
            "decoupled_weight_decay is True there",
        ),
        (["trainer.max_epochs=4", "optimizer=sgd"], "momentum is not set there and 0.9 here"),
        (["trainer.max_epochs=4", "+model.head.link=linear"], r"trained with model.head.link=logistic, and linear is"),
        (["trainer.max_epochs=4", "ckpt_path=none.ckpt"], r"none\.ckpt: no such checkpoint"),
        (["trainer.max_epochs=4", "init_from=none.ckpt"], "ckpt_path and init_from are both set"),
        (["trainer.max_epochs=4", "ckpt_path=3"], "ckpt_path is 3; it must be text"),
    ],
)
def test_what_cannot_go_on_is_told_before_anything_is_written(
    shipped: Shipped, begun: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(shipped(*going_on(begun, *words), small=SMALLER), tmp_path / "longer")
    assert not list((tmp_path / "longer").glob("*.*"))


@pytest.mark.parametrize(
    ("name", "value"), [("epoch", "two"), ("loops", None), ("lr_schedulers", 3), ("optimizer_states", [])]
)
def test_a_damaged_training_state_is_told(
    shipped: Shipped, begun: Path, tmp_path: Path, name: str, value: object
) -> None:
    torch.save(checkpoint(begun) | {name: value}, tmp_path / "bad.ckpt")
    _, model = build(settle(shipped(*PLAIN, "scheduler=none", small=SMALLER)))
    with pytest.raises(UserError, match=rf"bad\.ckpt: lacks {name}.*, or holds something else"):
        check_continuable("bad.ckpt", read_content(tmp_path / "bad.ckpt"), model, {"max_epochs": 4})


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


@pytest.mark.parametrize("entry", ["ckpt_path", "init_from"])
def test_a_strangers_checkpoint_runs_no_code(shipped: Shipped, begun: Path, tmp_path: Path, entry: str) -> None:
    torch.save(checkpoint(begun) | {"callbacks": {"bad": Malicious(tmp_path / "ran")}}, tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match=r"bad\.ckpt: cannot be loaded safely"):
        run(shipped(*PLAIN, f"{entry}={tmp_path}/bad.ckpt", "trainer.max_epochs=4", small=SMALLER), tmp_path / "run")
    assert not (tmp_path / "ran").exists()


def test_weights_alone_are_no_training_to_go_on_with(shipped: Shipped, begun: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in checkpoint(begun).items() if name in ("cvae", "state_dict")}
    torch.save(kept, tmp_path / "weights.ckpt")
    words = ("trainer.max_epochs=4", f"ckpt_path={tmp_path}/weights.ckpt")
    with pytest.raises(UserError, match=r"weights\.ckpt: lacks .*, epoch, global_step, loops, "):
        run(shipped(*PLAIN, *words, small=SMALLER), tmp_path / "run")
    # but enough to begin with
    _, model = build(settle(shipped(*PLAIN, f"init_from={tmp_path}/weights.ckpt", small=SMALLER)))
    assert_equal_weights(model.state_dict(), kept["state_dict"])


# --- fine-tuning


def test_fine_tuning_begins_with_the_weights_and_their_units(shipped: Shipped, begun: Path, tmp_path: Path) -> None:
    source = f"init_from={begun}/checkpoints/best.ckpt"
    words = (*PLAIN, source, "data=lines", "data.forward=['x0 * x1 * 0.5']", "trainer.max_epochs=1")
    run(shipped(*words, small=SMALLER), tmp_path / "tuned")
    old, new = checkpoint(begun, "best"), checkpoint(tmp_path / "tuned")
    assert (new["epoch"], new["global_step"]) == (0, 2)
    units = [name for name in old["state_dict"] if name.endswith((".centre", ".scale"))]
    assert units
    same = {name for name, value in old["state_dict"].items() if torch.equal(value, new["state_dict"][name])}
    assert same == set(units)
    distance = max(float((value - new["state_dict"][name]).abs().max()) for name, value in old["state_dict"].items())
    assert distance < 0.05  # two steps of Adam at a rate of 3e-3, not other weights
    assert result(tmp_path / "tuned")["config"]["init_from"] == source.partition("=")[2]


def test_an_interrupted_fine_tuning_goes_on_without_its_source(shipped: Shipped, begun: Path, tmp_path: Path) -> None:
    source = shutil.copy(begun / "checkpoints" / "best.ckpt", tmp_path / "source.ckpt")
    cfg = shipped(*PLAIN, f"init_from={source}", "trainer.max_epochs=4", small=SMALLER)
    with pytest.raises(RuntimeError, match="power cut"):
        run(cfg, tmp_path / "tuned", callbacks=[PowerCut()])
    source.unlink()
    run(cfg, tmp_path / "tuned")
    assert result(tmp_path / "tuned")["resumed"] == [3]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.points=40", "its weights do not fit this model: .* is .* in the file and .* here"),
        # of the same shapes, but they mean something else
        ("+model.head.link=linear", "was trained with model.head.link=logistic, and linear is asked for here"),
    ],
)
def test_weights_of_another_model_give_one_message(
    shipped: Shipped, begun: Path, tmp_path: Path, word: str, message: str
) -> None:
    words = (*PLAIN, f"init_from={begun}/checkpoints/best.ckpt", word, "trainer.max_epochs=1")
    with pytest.raises(UserError, match=rf"best\.ckpt: {message}"):
        run(shipped(*words, small=SMALLER), tmp_path / "tuned")
