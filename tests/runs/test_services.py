"""Runs that log to Weights & Biases and to MLflow, read back with the readers of those."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from cvae.errors import UserError
from cvae.runs import loggers
from cvae.runs.launch import run
from cvae.runs.loggers import build_loggers, check_loggers

Shipped = Callable[..., DictConfig]
PICTURES = ("data.evaluation.references=0", "trainer.max_epochs=2", "callbacks.figures.every_epochs=1")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_without_its_package_the_extra_is_named(
    name: str, shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = loggers.find_spec
    monkeypatch.setattr(loggers, "find_spec", lambda package: None if package == name else find(package))
    check_loggers(shipped().logger)
    with pytest.raises(UserError, match=rf"logger\.{name} needs {name}: pip install -e '\.\[{name}\]'"):
        run(shipped(f"logger={name}"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_store_of_plain_files_is_refused_with_a_remedy(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = shipped("logger=mlflow", "logger.mlflow.tracking_uri=file:./mlruns").logger
    with pytest.raises(UserError, match=r"logger\.mlflow\.tracking_uri is file:\./mlruns, .* sqlite:///outputs/mlflow"):
        check_loggers(entries)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check_loggers(entries)


def test_a_logger_that_was_switched_off_needs_nothing() -> None:
    check_loggers({"csv": None, "mine": OmegaConf.create({"_target_": "my_package.Logger"})})


@pytest.mark.slow
def test_mlflow_has_curves_settings_final_measures_and_pictures(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store/mlflow.db")
    run(shipped("logger=mlflow", *PICTURES), tmp_path / "run")
    measures = json.loads((tmp_path / "run" / "result.json").read_text())["measures"]
    client = MlflowClient(f"sqlite:///{tmp_path}/store/mlflow.db")
    [experiment] = client.search_experiments(filter_string="name = 'cvae'")
    [found] = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert len(client.get_metric_history(found.info.run_id, "val/score")) == 2
    assert found.data.metrics["final/val/rmse"] == pytest.approx(measures["val/rmse"])
    assert found.data.params["loss.beta"] == "0.0016"
    pictures = {file.path for file in client.list_artifacts(found.info.run_id, "figures")}
    assert pictures == {f"figures/{path.stem}_{step}.png" for path in figures(tmp_path) for step in (2, 4)}
    assert experiment.artifact_location == str(tmp_path / "store" / "mlruns")
    # a run that goes on, goes on there
    [again] = build_loggers([shipped("logger=mlflow").logger.mlflow], 2, {"MLFlowLogger": found.info.run_id})
    again.log_metrics({"val/score": 0.25}, 6)
    assert len(client.get_metric_history(found.info.run_id, "val/score")) == 3


@pytest.mark.slow
def test_wandb_has_curves_settings_final_measures_and_pictures_of_each_run(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    for number in range(2):
        folder = tmp_path / str(number)
        cfg = shipped("logger=wandb", "logger.wandb.offline=true", f"seed={number}", *PICTURES)
        run(cfg, folder)
        history, config, summary = read_wandb(folder)
        measures = json.loads((folder / "result.json").read_text())["measures"]
        assert [row["trainer/global_step"] for row in history if "val/score" in row] == [1, 3]
        assert config["loss.beta"] == 0.0016
        assert config["seed"] == number
        assert summary["final/val/rmse"] == pytest.approx(measures["val/rmse"])
        drawn = [key.removesuffix("/_type") for row in history for key in row if key.endswith("/_type")]
        assert sorted(drawn) == sorted(2 * [path.stem for path in figures(tmp_path / str(number), "")])


def figures(folder: Path, run: str = "run") -> list[Path]:
    """The pictures that lie in the folder of a run."""
    found = list((folder / run / "figures").iterdir())
    assert found
    return found


def read_wandb(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Rows, config and summary of the offline run in a folder."""
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = folder.glob("wandb/offline-run-*/*.wandb")
    history: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for text in records(path.read_bytes()):
        record = Record()
        record.ParseFromString(text)
        entries = {"history": record.history.item, "config": record.config.update, "summary": record.summary.update}
        kind = str(record.WhichOneof("record_type"))
        found = {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in entries.get(kind, ())}
        if kind == "history":
            history.append(found)
        (config if kind == "config" else summary if kind == "summary" else {}).update(found)
    return history, config, summary


def records(content: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format: blocks of 32 KiB; pieces with checksum, length and kind before each."""
    place, record = 7, b""  # after W&B's own header
    while place + 7 <= len(content):
        left = 32_768 - place % 32_768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""
