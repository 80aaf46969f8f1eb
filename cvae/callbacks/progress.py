"""One progress bar for a whole training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress(ProgressBar):
    """A single line: epochs done, time left (at the end: time taken), and the measures of the last epoch.

    Args:
        every_steps: steps between updates.
        measures: names of the measures to show, once they are known.
    """

    def __init__(self, every_steps: int = 20, measures: Sequence[str] = ("train/loss", "val/score")) -> None:
        super().__init__()
        if every_steps < 1:
            raise ValueError(f"callbacks.progress.every_steps is {every_steps}; it must be at least 1.")
        self.every_steps = every_steps
        self.measures = tuple(measures)
        self._enabled = True
        self._bar: Progress | None = None
        self._measures = ""

    def disable(self) -> None:
        """Lightning calls it in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._enabled:
            return
        steps = trainer.estimated_stepping_batches
        # narrow enough for a terminal of 80 columns
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[measures]}"),
            # each drawing takes milliseconds of the one core that also trains
            refresh_per_second=2,
        )
        self._bar.add_task("train", total=steps if math.isfinite(steps) else None, epoch="", measures="")
        self._bar.start()
        self._read(trainer)
        self._show(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % self.every_steps == 0:
            self._show(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(trainer)
        self._show(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(trainer)
        self._show(trainer)
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _read(self, trainer: Trainer) -> None:
        """Note the measures; at the ends of epochs alone, since in between an accelerator would have to wait for it."""
        if self._bar is None:
            return
        known = {name: trainer.callback_metrics[name] for name in self.measures if name in trainer.callback_metrics}
        self._measures = "  ".join(f"{name} {float(value):.4g}" for name, value in known.items())

    def _show(self, trainer: Trainer) -> None:
        if self._bar is None:
            return
        last = trainer.max_epochs if trainer.max_epochs not in (None, -1) else "?"
        # after the last epoch Lightning counts one further
        epoch = min(trainer.current_epoch + 1, last) if isinstance(last, int) else trainer.current_epoch + 1
        self._bar.update(
            self._bar.task_ids[0], completed=trainer.global_step, epoch=f"{epoch}/{last}", measures=self._measures
        )

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
