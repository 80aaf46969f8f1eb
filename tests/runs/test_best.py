"""Which epoch is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from cvae.runs.best import BestCheckpoint


class Scripted(LightningModule):
    """Measures what it is told, epoch by epoch."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: torch.Tensor, batch_index: int) -> torch.Tensor:
        return self.weight.sum()

    def on_train_epoch_end(self) -> None:
        self.log("measure", self.values[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("values", "mode", "kept"),
    [
        ([0, 0, 0], "max", 2),
        ([0.1, 0.5, 0.5, 0.3], "max", 2),
        ([0.5, 0.4, 0.1], "max", 0),
        ([0.2, 0.1, 0.1, 0.3], "min", 2),
        ([1, 2, 3], "max", 2),
    ],
)
def test_the_latest_of_the_best_epochs_is_kept(tmp_path: Path, values: list[float], mode: str, kept: int) -> None:
    best = BestCheckpoint(
        tmp_path, filename="best", monitor="measure", mode=mode, save_on_train_epoch_end=True,
        enable_version_counter=False,
    )  # fmt: skip
    trainer = Trainer(
        max_epochs=len(values), accelerator="cpu", logger=False, callbacks=[best], enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Scripted([float(value) for value in values]), DataLoader(torch.zeros(2), batch_size=2))
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert torch.load(best.best_model_path, weights_only=True)["epoch"] == kept
