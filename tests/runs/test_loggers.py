"""The logs of a run that goes on."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.api_pb2 import ListSessionGroupsRequest, Status
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler as SessionGroups
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from cvae.errors import UserError
from cvae.runs.board import Board, hyperparameters
from cvae.runs.loggers import build_loggers


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def entry(folder: Path, logger: str = "CSVLogger", version: str = "csv") -> DictConfig:
    target = f"lightning.pytorch.loggers.{logger}"
    return OmegaConf.create({"_target_": target, "save_dir": str(folder), "name": "", "version": version})


def log(logger: Logger, *rows: tuple[int, dict[str, Any]]) -> None:
    for step, measures in rows:
        logger.log_metrics(measures, step)
        logger.save()


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    [first] = build_loggers([entry(tmp_path), None], None)
    log(first, *((step, {"epoch": step // 2, "loss": step / 10}) for step in (1, 3, 5)))
    return tmp_path


@pytest.mark.parametrize("row", ["9,0.9,9,9", "a,0.9,9", "4,0.9,\u00b2", '"4', "\x1b[31m,0.9,9"])
def test_a_row_that_is_no_row_of_measures_is_left_out_and_said(
    logged: Path, caplog: pytest.LogCaptureFixture, row: str
) -> None:
    before = rows(logged)
    with (logged / "csv" / "metrics.csv").open("a") as file:
        file.write(f"{row}\n")
    build_loggers([entry(logged)], 20)
    assert rows(logged) == before
    assert "metrics.csv: 1 rows are no measures of a step; they are left out" in caplog.text


def test_a_resumed_run_goes_on_in_one_file(logged: Path, recwarn: pytest.WarningsRecorder) -> None:
    before = rows(logged)
    [second] = build_loggers([entry(logged)], 6)
    assert rows(logged) == before
    log(second, (7, {"loss": 0.7, "score": 1.0}), (9, {"score": 2.0}))
    assert [row["step"] for row in rows(logged)] == ["1", "3", "5", "7", "9"]
    assert [row["loss"] for row in rows(logged)] == ["0.1", "0.3", "0.5", "0.7", ""]
    assert [row["score"] for row in rows(logged)] == ["", "", "", "1.0", "2.0"]
    assert not recwarn.list


def test_what_will_be_logged_again_is_dropped(logged: Path) -> None:
    with (logged / "csv" / "metrics.csv").open("a") as file:
        file.write("0.7")  # cut short
    build_loggers([entry(logged)], 4)
    assert [row["step"] for row in rows(logged)] == ["1", "3"]


def test_a_resumed_run_may_have_no_log(tmp_path: Path) -> None:
    [logger] = build_loggers([entry(tmp_path)], 4)
    log(logger, (5, {"loss": 0.5}))
    assert [row["step"] for row in rows(tmp_path)] == ["5"]


def test_a_new_run_starts_an_empty_log(logged: Path) -> None:
    [logger] = build_loggers([entry(logged)], None)
    with pytest.warns(UserWarning, match="will be deleted"):
        log(logger, (1, {"loss": 0.5}))
    assert [row["loss"] for row in rows(logged)] == ["0.5"]


def test_tensorboard_reads_a_log_that_goes_on_at_once_in_order(tmp_path: Path) -> None:
    # at the beginning of a second, so that both could be begun in it
    time.sleep(1 - time.time() % 1)
    for steps, begin in (((1, 3), None), ((5, 7), 4)):
        [board] = build_loggers([entry(tmp_path, "TensorBoardLogger", "board")], begin)
        log(board, *((step, {"loss": float(step)}) for step in steps))
        board.finalize("success")
        for path in (tmp_path / "board").glob("events.*"):
            # the process that is interrupted has the larger number here
            if begin is None:
                second = path.name.split(".")[3]
                path.rename(path.with_name(f"events.out.tfevents.{second}.zzz.99999999.0"))
    events = EventAccumulator(str(tmp_path / "board")).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 3, 5, 7]


#: what Lightning hands to a logger, in its order
LOGGED = (
    {"train/loss": 0.5, "train/lr": 0.1, "epoch": 0},
    {"val/coverage": 0.25, "val/score": 0.75, "val/loss": 0.5, "val/active_units": 3.0, "epoch": 0},
    {"test/score": 0.7, "epoch": 1},
)
#: measures of the epoch that is kept
KEPT = {"train/loss": 0.5, "val/kl": 1.0, "val/own": 0.0, "val/rmse": 0.1, "val/coverage": 0.25, "val/valid": 0.5}
TEXTS = ("1 command", "2 settled config")


def written(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    board = Board(str(tmp_path), "val/score")
    yield board
    board.finalize("success")


def browser_order(tags: list[str]) -> list[str]:
    """Tags in the order of TensorBoard's pages: as texts, but breaks and digits come before all other characters."""
    return sorted(tags, key=lambda tag: [(char not in "/_0123456789", char) for char in tag])


def test_charts_begin_with_the_headline_and_none_has_a_single_point(tmp_path: Path, board: Board) -> None:
    for step in (1, 3):
        for metrics in LOGGED[:2]:
            board.log_metrics(metrics, step)
    board.log_metrics(LOGGED[2], 4)
    board.save()
    tags = written(tmp_path).Tags()["scalars"]
    assert browser_order(tags) == [
        "1 headline/score", "2 validation/active_units", "2 validation/coverage", "2 validation/loss",
        "3 training/loss", "3 training/lr",
    ]  # fmt: skip
    assert all(len(written(tmp_path).Scalars(tag)) == 2 for tag in tags)


def test_the_first_five_scalars_by_their_bytes_are_the_headline_measures_of_the_kept_epoch(
    tmp_path: Path, board: Board
) -> None:
    for metrics in LOGGED:
        board.log_metrics(metrics, 1)
    board.log_kept(KEPT | {"val/score": 0.75}, 1)
    board.save()
    tags = written(tmp_path).Tags()["scalars"]
    # the table of hyperparameters shows these, and the page of charts has them last
    names = ["1 score", "2 valid", "3 coverage", "4 rmse", "5 own"]
    assert sorted(tags)[:5] == browser_order(tags)[-5:] == [f"(kept)/{name}" for name in names]


def test_the_run_is_described_by_its_hyperparameters_command_and_config(tmp_path: Path, board: Board) -> None:
    settings = {
        "seed": 3, "choices": {"data": "two_birds", "model": "auto", "loss": "huber", "optimizer": None},
        "data": {"_target_": "cvae.data.LineTriples", "batch_size": 128, "source": {"train": 64}, "fresh": True},
        "model": {"_target_": "cvae.networks.mixture", "latent_dim": 256},
        "loss": {"_target_": "cvae.losses.Objective", "beta": 0.5, "wx": 1, "wy": 0.0, "reduction": "mean"},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001}, "trainer": {"max_epochs": 2},
    }  # fmt: skip
    overrides = ["loss=huber", "+data.source.train=64", "data.fresh=true", "optimizer.lr=1e-3", "scheduler=one_cycle",
                 "threads=1", "loss.reduction=mean"]  # fmt: skip
    board.log_run(settings, overrides)
    board.save()
    events = written(tmp_path)
    content = events.PluginTagToContent("hparams")
    # without an experiment of its own, TensorBoard finds what differs between the runs that it shows
    assert set(content) == {"_hparams_/session_start_info"}
    start = parse_session_start_info_plugin_data(content["_hparams_/session_start_info"])
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert found == {
        "data": "two_birds", "model": "auto (mixture)", "loss": "huber", "optimizer": "AdamW", "seed": 3,
        "optimizer.lr": 0.001, "data.batch_size": 128, "loss.beta": 0.5, "loss.wx": 1, "loss.wy": 0,
        "trainer.max_epochs": 2, "model.latent_dim": 256, "data.source.train": 64, "data.fresh": "True",
        "scheduler": "one_cycle", "loss.reduction": "mean",
    }  # fmt: skip
    text = {tag: events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode() for tag in TEXTS}
    assert text["1 command"].endswith("train.py " + " ".join(overrides))
    assert yaml.safe_load(text["2 settled config"].removeprefix("```yaml").removesuffix("```")) == settings


def test_without_names_of_groups_the_overrides_name_them() -> None:
    settings = {name: {"_target_": f"package.{name.title()}"} for name in ("data", "model", "loss", "optimizer")}
    found = hyperparameters(settings, ["model=deep"])
    assert found == {"data": "Data", "model": "deep", "loss": "Loss", "optimizer": "Optimizer"}


def test_a_resumed_run_replaces_what_was_logged_behind_its_checkpoint(tmp_path: Path) -> None:
    target = {"_target_": "cvae.runs.board.Board", "save_dir": str(tmp_path), "headline": "val/score"}
    for steps, begin, value in (((1, 3, 5), None, 0.0), ((3, 5), 2, 1.0)):
        [board] = build_loggers([OmegaConf.create(target)], begin)
        assert isinstance(board, Board)
        for step in steps:
            board.log_metrics({"val/score": value}, step)
            board.log_kept({"val/score": value}, step)
        board.finalize("success")
    for tag in ("1 headline/score", "(kept)/1 score"):
        assert [(event.step, event.value) for event in written(tmp_path).Scalars(tag)] == [(1, 0), (3, 1), (5, 1)]


def test_tensorboard_compares_runs_by_what_differs_and_by_the_kept_measures(tmp_path: Path) -> None:
    settings = {name: {"_target_": f"package.{name}"} for name in ("data", "model", "loss", "optimizer")}
    for seed, score in ((1, 0.25), (2, 0.75)):
        board = Board(str(tmp_path / f"seed={seed}"), "val/score")
        board.log_run(settings | {"seed": seed}, [f"seed={seed}"])
        for step, value in ((1, 0.0), (3, score)):
            board.log_metrics({"val/score": value, "train/loss": 1.0}, step)
            board.log_kept(KEPT | {"val/score": value}, step)
        board.finalize("success")
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    page = Context(TBContext(data_provider=provider, logdir=str(tmp_path)))
    asked = RequestContext()
    content, scalars = page.hparams_metadata(asked, ""), page.hparams_from_data_provider(asked, "", 0)
    experiment = page.experiment_from_metadata(asked, "", True, content, scalars)
    assert [info.name for info in experiment.hparam_infos] == ["seed", "data", "loss", "model", "optimizer"]
    assert [info.differs for info in experiment.hparam_infos] == [True, False, False, False, False]
    names = ["1 score", "2 valid", "3 coverage", "4 rmse", "5 own"]
    # TensorBoard's table opens with the first five of them
    assert [info.name.tag for info in experiment.metric_infos][:5] == [f"(kept)/{name}" for name in names]
    request = ListSessionGroupsRequest(allowed_statuses=[Status.STATUS_UNKNOWN], slice_size=9, include_metrics=True)
    rows = SessionGroups(asked, page, "", request).run().session_groups
    found = {row.name: {value.name.tag: value.value for value in row.metric_values} for row in rows}
    assert {name: values["(kept)/1 score"] for name, values in found.items()} == {"seed=1": 0.25, "seed=2": 0.75}


@pytest.mark.parametrize(("name", "tag"), [("lr-AdamW", "lr-AdamW"), ("val_loss", "val_loss"), ("mine/x", "mine/x")])
def test_measures_of_ones_own_keep_their_names(tmp_path: Path, name: str, tag: str) -> None:
    assert Board(str(tmp_path), "val/score").tag(name) == tag


def test_what_makes_no_logger_is_named() -> None:
    with pytest.raises(UserError, match=r"logger: os\.getcwd makes no logger of Lightning; choose logger=NAME"):
        build_loggers([OmegaConf.create({"_target_": "os.getcwd"})], None)
