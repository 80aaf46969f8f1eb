"""What a resumed training knows of the one before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from cvae.models.checkpoints import CheckpointError
from cvae.runs.continuation import KEY, PATHS, Continuation, confined


class Counted(LightningModule):
    """Measures the number of its epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: torch.Tensor, batch_index: int) -> torch.Tensor:
        return self.weight.sum()

    def on_train_epoch_end(self) -> None:
        self.log("epochs", float(self.current_epoch + 1))

    def validation_step(self, batch: torch.Tensor, batch_index: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


Fit = Callable[..., tuple[Continuation, ModelCheckpoint]]


@pytest.fixture
def fit() -> Fit:
    """Trains in a folder up to some epoch, from its last checkpoint if there is one."""

    def run(folder: Path, epochs: int) -> tuple[Continuation, ModelCheckpoint]:
        continuation = Continuation()
        best = ModelCheckpoint(folder, filename="best", monitor="epochs", mode="min", save_on_train_epoch_end=True)
        last = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, callbacks=[best, last, continuation],
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        path = folder / "last.ckpt"
        loader = DataLoader(torch.zeros(2), batch_size=2)
        trainer.fit(Counted(), loader, ckpt_path=path if path.exists() else None, weights_only=True)
        return continuation, best

    return run


def test_a_training_that_was_not_interrupted_takes_nothing_up(tmp_path: Path, fit: Fit) -> None:
    continuation, _ = fit(tmp_path, 2)
    assert (continuation.measures, continuation.earlier_s, continuation.resumed) == ({}, 0.0, [])
    assert continuation.fit_s > 0


def test_measures_and_time_of_the_epochs_before_are_taken_up(tmp_path: Path, fit: Fit) -> None:
    fit(tmp_path, 2)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)[KEY]
    assert kept["measures"] == {"epochs": 2.0}
    continuation, _ = fit(tmp_path, 3)
    assert continuation.measures == {"epochs": 2.0}
    assert continuation.earlier_s == kept["fit_s"] > 0
    assert continuation.fit_s > continuation.earlier_s
    assert continuation.resumed == [2]
    continuation, _ = fit(tmp_path, 6)
    assert continuation.resumed == [2, 3]


def test_a_validation_of_a_checkpoint_is_no_resumption(tmp_path: Path, fit: Fit) -> None:
    fit(tmp_path, 1)
    continuation = Continuation()
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[continuation], enable_progress_bar=False)
    loader = DataLoader(torch.zeros(2), batch_size=2)
    trainer.validate(Counted(), loader, ckpt_path=tmp_path / "last.ckpt", verbose=False, weights_only=True)
    assert continuation.resumed == []


def test_a_folder_that_was_moved_keeps_its_best_checkpoint(tmp_path: Path, fit: Fit) -> None:
    fit(tmp_path / "old", 2)
    shutil.move(tmp_path / "old", tmp_path / "new")
    _, best = fit(tmp_path / "new", 4)
    # the first epoch is the best and is not written again
    assert best.best_model_path == str(tmp_path / "new" / "best.ckpt")
    assert list(best.best_k_models) == [best.best_model_path]
    assert torch.load(best.best_model_path, weights_only=True)["epoch"] == 0
    assert not (tmp_path / "old").exists()


#: paths that lead out of a folder of checkpoints
OUTSIDE = ("{folder}/../victim", "{victim}", "{folder}/link/a.ckpt", "{folder}", "../victim", "\0", 3)


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("name", [*PATHS, "best_k_models"])
@pytest.mark.parametrize("moved", [False, True])
def test_a_path_that_leads_elsewhere_is_no_checkpoint_to_keep(
    tmp_path: Path, moved: bool, name: str, path: object
) -> None:
    folder, victim = tmp_path / "checkpoints", tmp_path / "victim"
    for each in (folder, victim):
        each.mkdir()
    (folder / "link").symlink_to(victim)
    old = tmp_path / "old" if moved else folder
    named = path.format(folder=old, victim=victim) if isinstance(path, str) else path
    state = {"dirpath": str(old), name: {named: torch.tensor(0.0)} if name == "best_k_models" else named}
    with pytest.raises(CheckpointError, match="as one to keep, which lies outside"):
        confined(state, folder)


@pytest.mark.parametrize("named", ["best.ckpt", "old/../best.ckpt", "{old}/best.ckpt", "{new}/best.ckpt"])
def test_paths_in_a_folder_that_was_moved_lead_into_the_new_one(tmp_path: Path, named: str) -> None:
    path = named.format(old=tmp_path / "old", new=tmp_path)
    state = {"dirpath": str(tmp_path / "old"), "best_model_path": path, "kth_best_model_path": "", "other": 3}
    assert confined(state, tmp_path) == {
        "dirpath": str(tmp_path),
        "best_model_path": str(tmp_path / "best.ckpt"),
        "kth_best_model_path": "",
        "best_k_models": {},
        "other": 3,
    }


def test_a_remote_file_is_taken_for_a_local_one(tmp_path: Path) -> None:
    state = confined({"dirpath": "x", "best_model_path": "s3://bucket/a.ckpt"}, tmp_path)
    assert state["best_model_path"] == f"{tmp_path}/s3:/bucket/a.ckpt"


@pytest.mark.parametrize("dirpath", [True, False])
def test_a_stranger_removes_nothing_outside_of_the_folder(
    tmp_path: Path, fit: Fit, dirpath: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder, victim = tmp_path / "checkpoints", tmp_path / "victim"
    fit(folder, 1)
    victim.mkdir()
    (victim / "precious.txt").write_text("precious")
    content = torch.load(folder / "last.ckpt", weights_only=True)
    for state in content["callbacks"].values():
        state |= dict.fromkeys(PATHS, f"{folder}/../victim")
        if not dirpath:
            # without which Lightning takes the rest for that of the same folder
            del state["dirpath"]
    torch.save(content, folder / "last.ckpt")
    fit(folder, 3)
    assert (victim / "precious.txt").read_text() == "precious"
    assert "as one to keep, which lies outside. Nothing of what it says" in caplog.text
