"""The share of an epoch that validation takes: draws, measures, pictures and checkpoints."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Sequence
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


def whole_share(epochs: Sequence[float], validations: Sequence[float], total: int, pictures: int) -> float:
    """Share of validation in a training of ``total`` epochs, from the seconds of the first few.

    Args:
        epochs, validations: seconds of each; the first validation also does what is done once, the last draws pictures,
            those between do neither.
        total: epochs of the whole training.
        pictures: how many of them draw pictures.
    """
    usual = statistics.median(validations[1:-1])
    once, picture = validations[0] - usual, validations[-1] - usual
    training = statistics.median(epoch - validation for epoch, validation in zip(epochs, validations, strict=True))
    spent = total * usual + once + pictures * picture
    return spent / (spent + total * training)


def measure_validation(compose: Compose, epochs: int, overrides: list[str]) -> list[Finding]:
    """Train the default as it is shipped for some epochs, at least 3, with pictures in the last of them alone."""
    usual = compose(overrides)
    total, every = int(usual.trainer.max_epochs), int(usual.callbacks.figures.every_epochs)
    cfg = compose(
        [f"trainer.max_epochs={epochs}", f"callbacks.figures.every_epochs={epochs}", "test=false", *overrides]
    )
    shares = Shares()
    with tempfile.TemporaryDirectory() as folder, terminal():
        train(cfg, Path(folder), callbacks=[shares])
    wall, cpu = (
        whole_share(
            [getattr(lap, kind) for lap in shares.epochs],
            [getattr(lap, kind) for lap in shares.validations],
            total,
            math.ceil(total / every),
        )
        for kind in ("wall", "cpu")
    )
    details = {
        "share_cpu": cpu,
        "epoch_s": [lap.wall for lap in shares.epochs],
        "validation_s": [lap.wall for lap in shares.validations],
    }
    return [
        Finding("validation", f"share of the default's {total} epochs, from {epochs}", wall, "", GOAL, True, details)
    ]
