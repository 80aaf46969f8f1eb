"""The share of an epoch that validation takes: draws, measures, pictures and checkpoints."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from cvae.speed.compose import Compose
from cvae.speed.measure import Finding, Lap, Watch
from cvae.speed.turns import terminal
from cvae.training import train

#: largest share of an epoch; what was promised
GOAL = 0.10


class Shares(Callback):
    """Seconds of each epoch, and of its validation until the training goes on."""

    def __init__(self) -> None:
        self.epochs: list[Lap] = []
        self.validations: list[Lap] = []
        self._epoch, self._validation = Watch(), Watch()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()
        self._epoch.start()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._validation.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validations.append(self._validation.take())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def _end(self) -> None:
        lap = self._epoch.take()
        if len(self.epochs) < len(self.validations):
            self.epochs.append(lap)


def measure_validation(compose: Compose, epochs: int, overrides: list[str]) -> list[Finding]:
    """Train the default as it is shipped for some epochs; its pictures come every five, and in the last."""
    cfg = compose([f"trainer.max_epochs={epochs}", "test=false", *overrides])
    shares = Shares()
    with tempfile.TemporaryDirectory() as folder, terminal():
        train(cfg, Path(folder), callbacks=[shares])
    wall = sum(lap.wall for lap in shares.validations) / sum(lap.wall for lap in shares.epochs)
    cpu = sum(lap.cpu for lap in shares.validations) / sum(lap.cpu for lap in shares.epochs)
    details = {
        "share_cpu": cpu,
        "epoch_s": [lap.wall for lap in shares.epochs],
        "validation_s": [lap.wall for lap in shares.validations],
    }
    return [Finding("validation", f"share of {epochs} epochs of the default", wall, "", GOAL, True, details)]
