"""What a resumed run must know that Lightning's checkpoints do not hold."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from cvae import __version__
from cvae.models.checkpoints import CheckpointError

KEY = "cvae_continuation"
#: entries of a ``ModelCheckpoint``'s state that are paths, and all that tell of checkpoints
PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
KEPT = (*PATHS, "best_k_models", "dirpath")

log = logging.getLogger(__name__)


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    packages = ("torch", "lightning", "hydra-core", "torchmetrics", "numpy")
    return {"python": platform.python_version(), "cvae": __version__} | {name: version(name) for name in packages}


class Continuation(Callback):
    """Keeps measures and training time in checkpoints, and takes them up again.

    Args:
        run: identity of the run, which its checkpoints hold.

    Attributes:
        measures: those of the epoch that was resumed from; empty in a run that was not interrupted.
        earlier_s: seconds of training before this process.
        resumed: for each interruption, how many epochs were done.
    """

    def __init__(self, run: str = "") -> None:
        self.run = run
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
        checkpoint[KEY] = known | {"ended": trainer.should_stop, "run": self.run, "versions": versions()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take up measures and time from a checkpoint, in whatever folder it lies now, and do not train further where
        a callback had ended the training; all of this, and what callbacks know, another run keeps for itself."""
        folder = Path(str(trainer.ckpt_path)).resolve().parent
        own = {Path(str(getattr(callback, "dirpath", None))).resolve() for callback in trainer.checkpoint_callbacks}
        if trainer.state.fn == "fit" and folder not in own:
            log.info("going on from %s, after epoch %d.", trainer.ckpt_path, int(checkpoint["epoch"]) + 1)
            checkpoint["callbacks"] = {}
            return
        states = checkpoint["callbacks"]
        for name, state in list(states.items()):
            if isinstance(state, Mapping) and not state.keys().isdisjoint(KEPT):
                states[name] = _kept(state, folder)
        # validation and test load checkpoints too
        if trainer.state.fn == "fit":
            kept = checkpoint[KEY]
            self.measures, self.earlier_s = dict(kept["measures"]), float(kept["fit_s"])
            self.resumed = [*kept["resumed"], int(checkpoint["epoch"]) + 1]
            trainer.should_stop = bool(kept.get("ended"))


def _kept(state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a ``ModelCheckpoint`` takes up: its state with paths in ``folder``; nothing, where these lead outside or the
    checkpoint that it kept is gone."""
    try:
        moved = confined(state, folder)
    except CheckpointError as error:
        log.warning("%s Nothing of what it says about checkpoints to keep is taken up.", error)
        return {}
    # the last one is written again in any case
    gone = moved.get("monitor") is not None and not os.path.isfile(moved.get("best_model_path", ""))
    return {} if gone else moved


def confined(state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The state of a ``ModelCheckpoint`` with its paths in ``folder``, whither its own may have been moved.

    Lightning removes what the state names. It compares names only, from which ``..`` and links lead out, and takes a
    name with a protocol for a remote file; so each is resolved here.

    Args:
        state: as a checkpoint holds it, which may be a stranger's.
        folder: of the checkpoints of this run, resolved.

    Raises:
        CheckpointError: for a path outside of the folder.
    """
    old = str(state.get("dirpath")) + os.sep

    def inside(path: str) -> str:
        if path == "":
            return path
        try:
            found = Path(folder, os.path.relpath(path, old) if path.startswith(old) else path).resolve()
        except (AttributeError, TypeError, ValueError, OSError, RuntimeError):
            found = folder
        if folder not in found.parents:
            raise CheckpointError(f"{folder}: a checkpoint in it names {path!r} as one to keep, which lies outside.")
        return str(found)

    paths = {name: inside(state[name]) for name in PATHS if name in state}
    models = {inside(path): score for path, score in state.get("best_k_models", {}).items()}
    return {**state, **paths, "best_k_models": models, "dirpath": str(folder)}
