"""What a resumed run must know that Lightning's checkpoints do not hold."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

KEY = "cvae_continuation"


class Continuation(Callback):
    """Keeps measures and training time in checkpoints, and takes them up again.

    Attributes:
        measures: those of the epoch that was resumed from; empty in a run that was not interrupted.
        earlier_s: seconds of training before this process.
        resumed: for each interruption, how many epochs were done.
    """

    def __init__(self) -> None:
        self.measures: dict[str, float] = {}
        self.earlier_s = 0.0
        self.resumed: list[int] = []
        self._started = time.monotonic()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start the clock of a training."""
        if stage == "fit":
            self._started = time.monotonic()

    @property
    def fit_s(self) -> float:
        """Seconds of training up to now, without what an interruption lost."""
        return self.earlier_s + time.monotonic() - self._started

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add measures and time to a checkpoint."""
        measures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        loggers = {type(logger).__name__: str(logger.version) for logger in trainer.loggers}
        known = {"measures": measures, "fit_s": self.fit_s, "resumed": list(self.resumed), "loggers": loggers}
        checkpoint[KEY] = known | {"ended": trainer.should_stop}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take up measures and time from a checkpoint, in whatever folder it lies now, and do not train further where
        a callback had ended the training; all of this, and what callbacks know, another run keeps for itself."""
        folder = Path(str(trainer.ckpt_path)).resolve().parent
        own = {Path(str(getattr(callback, "dirpath", None))).resolve() for callback in trainer.checkpoint_callbacks}
        if trainer.state.fn == "fit" and folder not in own:
            checkpoint["callbacks"] = {}
            return
        for state in checkpoint.get("callbacks", {}).values():
            _move(state, str(state.get("dirpath")), str(folder))
        # validation and test load checkpoints too
        if trainer.state.fn == "fit":
            kept = checkpoint[KEY]
            self.measures, self.earlier_s = dict(kept["measures"]), float(kept["fit_s"])
            self.resumed = [*kept["resumed"], int(checkpoint["epoch"]) + 1]
            trainer.should_stop = bool(kept.get("ended"))


def _move(state: dict[str, Any], old: str, new: str) -> None:
    """Rewrite the paths in the state of a ``ModelCheckpoint`` whose folder was moved while the run was interrupted."""
    if state.get("dirpath") is None or old == new:
        return

    def moved(path: str) -> str:
        return os.path.join(new, os.path.relpath(path, old)) if path.startswith(old + os.sep) else path

    for name, value in state.items():
        if isinstance(value, str):
            state[name] = new if value == old else moved(value)
        elif name == "best_k_models":
            state[name] = {moved(path): score for path, score in value.items()}
