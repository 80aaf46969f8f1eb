"""Lightning's progress bar, with the measures of the last epoch."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

log = logging.getLogger(__name__)

#: seconds between lines where there is no bar
QUIET_S = 10.0


class TrainingProgress(TQDMProgressBar):
    """Lightning's bar for each epoch, with chosen measures, on a terminal; elsewhere, where a bar would fill a log
    file, a line now and then.

    Args:
        refresh_rate: steps between updates; 0 shows no bar.
        measures: names of the measures to show, once they are known.
    """

    #: short enough for two measures on a terminal of 80 columns
    BAR_FORMAT = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"

    def __init__(self, refresh_rate: int = 20, measures: Sequence[str] = ("train/loss", "val/score")) -> None:
        super().__init__(refresh_rate)
        self.measures = tuple(measures)
        self._shown: dict[str, Any] = {}
        self._told = time.monotonic()
        self._done = self._said = 0

    @property
    def is_enabled(self) -> bool:
        """Whether there is a terminal to draw on."""
        return super().is_enabled and sys.stdout.isatty()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The chosen measures of the last epoch, by name."""
        return self._shown

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Show the number of the epoch; log what the one before has come to."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")
        self._read(trainer)
        self._tell(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that an epoch is done; what it has come to is logged after this."""
        super().on_train_epoch_end(trainer, pl_module)
        self._done = trainer.current_epoch + 1

    def _tell(self, trainer: Trainer) -> None:
        """Log how far the training is, where there is no bar and some time has passed."""
        now = time.monotonic()
        due = self._done > self._said and now - self._told > QUIET_S
        if due and not self.is_enabled and trainer.is_global_zero:
            self._told, self._said = now, self._done
            measures = "".join(f", {name} {value:.4g}" for name, value in self._shown.items())
            log.info("epoch %d of %s%s", self._done, trainer.max_epochs, measures)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the measures of the last epoch."""
        self._read(trainer)
        self._tell(trainer)
        self.train_progress_bar.set_postfix(self._shown)
        super().on_train_end(trainer, pl_module)

    def _read(self, trainer: Trainer) -> None:
        """Note the measures, between epochs alone: at every update, an accelerator would have to wait for it."""
        known = trainer.callback_metrics
        self._shown = {name: float(known[name]) for name in self.measures if name in known}
