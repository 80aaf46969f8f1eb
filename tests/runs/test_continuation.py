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

from cvae.runs.continuation import KEY, Continuation


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
