"""What one finished run leaves behind."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cvae import CVAE
from cvae.runs.launch import run

STEPS_PER_EPOCH = 2


@pytest.fixture(scope="module")
def result(finished: Any) -> dict[str, Any]:
    return json.loads((finished.folder / "result.json").read_text())


@pytest.fixture(scope="module")
def board(finished: Any) -> EventAccumulator:
    board = EventAccumulator(str(finished.folder), size_guidance={"images": 0, "scalars": 0})
    return board.Reload()


def test_the_run_returns_the_optimized_metric_of_the_model_that_is_kept(finished: Any, result: dict[str, Any]) -> None:
    assert result["optimized_metric"] == "val/score"
    assert finished.value == result["value"] == result["measures"]["val/score"]


def test_everything_lies_in_the_runs_folder(finished: Any) -> None:
    found = {path.relative_to(finished.folder).as_posix() for path in finished.folder.rglob("*") if path.is_file()}
    events = {name for name in found if Path(name).name.startswith("events.out.tfevents.")}
    assert found - events == {
        "result.json", "config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "csv/metrics.csv",
        *(f"figures/solutions_{number}.png" for number in range(4)), "figures/latent.png",
    }  # fmt: skip
    assert {Path(name).parent.as_posix() for name in events} == {"."}


def test_the_result_is_complete(finished: Any, result: dict[str, Any]) -> None:
    assert result["status"] == "finished"
    assert result["seed"] == 3
    assert result["overrides"] == finished.overrides
    assert result["duration_s"] > 0
    assert {"python", "torch", "lightning", "cvae"} <= set(result["versions"])
    assert result["config"]["data"]["source"]["train"] == 128
    assert (finished.folder / result["checkpoint"]).is_file()
    for stage in ("val", "test"):
        for name in ("score", "coverage", "envelope", "valid", "rmse", "relative_rmse", "pearson", "loss", "kl"):
            assert math.isfinite(result["measures"][f"{stage}/{name}"]), f"{stage}/{name}"


def test_the_config_is_complete(finished: Any, result: dict[str, Any]) -> None:
    written = OmegaConf.load(finished.folder / "config.yaml")
    assert OmegaConf.is_missing(written, "run_dir")
    text = (finished.folder / "config.yaml").read_text()
    assert text.count("${") == text.count("${run_dir}") == 4
    written.run_dir = "."
    content = OmegaConf.to_container(written, resolve=True, throw_on_missing=True)
    assert {key: value for key, value in content.items() if key != "run_dir"} == result["config"]


def test_the_result_names_no_folder_so_that_equal_runs_have_equal_hashes(finished: Any, result: dict[str, Any]) -> None:
    assert str(finished.folder) not in json.dumps(result["config"])


def test_checkpoints_hold_plain_data_only(finished: Any) -> None:
    for path in (finished.folder / "checkpoints").iterdir():
        torch.load(path, weights_only=True)


def test_a_checkpoint_alone_gives_the_model(finished: Any, result: dict[str, Any]) -> None:
    model = CVAE.load(finished.folder / result["checkpoint"])
    y = torch.rand(3, *model.task.y_shape)
    x = model.draw(y, 4, torch.Generator().manual_seed(0))
    assert x.shape == (3, 4, *model.task.x_shape) == (3, 4, 2, 50)


def test_tensorboard_has_one_value_of_each_measure_per_epoch(board: EventAccumulator) -> None:
    names = ("score", "coverage", "valid", "envelope", "rmse", "relative_rmse", "pearson", "loss", "kl")
    tags = ["1 headline/score", *(f"2 validation/{name}" for name in names[1:]), "3 training/loss", "(kept)/1 score"]
    for tag in tags:
        assert [event.step for event in board.Scalars(tag)] == [epoch * STEPS_PER_EPOCH - 1 for epoch in (1, 2)], tag


@pytest.mark.parametrize("tag", ["4 solutions/0", "5 latent"])
def test_tensorboard_has_pictures(board: EventAccumulator, tag: str) -> None:
    images = board.Images(tag)
    assert len(images) == 2
    assert all(image.width > 300 and image.height > 200 for image in images)


def test_tensorboard_has_the_hyperparameters_and_the_measures_of_the_model_that_is_kept(
    board: EventAccumulator, result: dict[str, Any]
) -> None:
    start = board.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert b"loss.beta" in start
    assert b"dirpath" not in start
    first = sorted(board.Tags()["scalars"])[:5]
    assert first == [f"(kept)/{name}" for name in ("1 score", "2 valid", "3 coverage_ratio", "4 coverage", "5 rmse")]
    for tag in first:
        assert board.Scalars(tag)[-1].value == pytest.approx(result["measures"][f"val/{tag[9:]}"])


def test_the_csv_log_has_the_same_values(finished: Any, board: EventAccumulator) -> None:
    with (finished.folder / "csv" / "metrics.csv").open() as file:
        logged = [float(row["val/score"]) for row in csv.DictReader(file) if row["val/score"]]
    assert logged == pytest.approx([event.value for event in board.Scalars("1 headline/score")])


def test_the_same_seed_gives_the_same_measures(shipped: Any, finished: Any, tmp_path: Path) -> None:
    measures = []
    for number in range(2):
        run(shipped("seed=5", "test=false", "logger={}"), tmp_path / str(number))
        measures.append(json.loads((tmp_path / str(number) / "result.json").read_text())["measures"])
    assert measures[0] == measures[1]


def test_a_run_may_lie_behind_a_link(shipped: Any, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    run(shipped("test=false", "logger={}"), tmp_path / "link" / "run")
    assert json.loads((tmp_path / "disk" / "run" / "result.json").read_text())["checkpoint"] == "checkpoints/best.ckpt"


def test_another_metric_can_be_optimized(shipped: Any, tmp_path: Path) -> None:
    value = run(shipped("optimized_metric=val/valid", "test=false", "logger={}"), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert value == result["value"] == result["measures"]["val/valid"]
    assert not any(name.startswith("test/") for name in result["measures"])
