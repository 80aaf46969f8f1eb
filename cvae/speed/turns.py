"""The Trainer of ``train.py``, block by block in turns with another loop in the same process."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import rich
import torch
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from cvae.module import CVAE
from cvae.speed.compose import LITTLE_VALIDATION, Compose, model_overrides
from cvae.speed.measure import Lap, Watch
from cvae.speed.rivals import Rival
from cvae.training import build, train

MakeRival = Callable[[Trainer, CVAE], Rival]


class Turns(Callback):
    """Lets a rival do each block of steps right before the Trainer does it, and times both.

    The clock of the Trainer runs from the end of the rival's turn to its next one, so it holds all that Lightning does
    between: fetching, hooks, logging, the start and end of epochs. Validation and checkpoints are left out.

    Args:
        make_rival: from the Trainer and its model, once both are set up.
        block: steps in a turn.
        seconds: the training ends with the first epoch that ends after so many.
    """

    def __init__(self, make_rival: MakeRival, block: int, seconds: float) -> None:
        self.make_rival, self.block, self.seconds = make_rival, block, seconds
        self.ours: list[Lap] = []
        self.theirs: list[Lap] = []
        self.items = 0
        self.rival: Rival | None = None
        self._watch = Watch()
        self._rng = torch.get_rng_state()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rival = self.make_rival(trainer, cast(CVAE, pl_module))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.items += len(batch.x)
        if batch_idx % self.block:
            return
        self._end_turn()
        rival = cast(Rival, self.rival)
        outer = torch.get_rng_state()
        theirs = Watch()
        # the rival's random numbers are its own, and those of the Trainer at the start of each epoch
        torch.set_rng_state(outer if batch_idx == 0 else self._rng)
        theirs.start()
        if batch_idx == 0:
            rival.begin_epoch(trainer.current_epoch)
        rival.run(min(self.block, int(trainer.num_training_batches) - batch_idx))
        self.theirs.append(theirs.take())
        self._rng = torch.get_rng_state()
        torch.set_rng_state(outer)
        self._watch.start()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.stop()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.start()
        spent = sum(lap.wall for lap in (*self.ours, *self.theirs))
        trainer.should_stop = trainer.should_stop or spent > self.seconds

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_turn()

    def _end_turn(self) -> None:
        lap = self._watch.take()
        if len(self.ours) < len(self.theirs):
            self.ours.append(lap)


def in_turns(cfg: DictConfig, make_rival: MakeRival, block_items: int, seconds: float) -> tuple[Turns, CVAE]:
    """Train as ``train.py`` does, with all of its callbacks and loggers, in turns with a rival.

    Args:
        cfg: composed training config.
        make_rival: see :class:`Turns`.
        block_items: triples in a turn, roughly.
        seconds: of both together, after which the epoch is the last.

    Returns:
        The timings, and the model that the Trainer trained.
    """
    turns = Turns(make_rival, max(round(block_items / int(cfg.data.batch_size)), 1), seconds)
    caught = _Model()
    with tempfile.TemporaryDirectory() as folder, terminal():
        train(cfg, Path(folder), callbacks=[turns, caught])
    assert caught.model is not None
    return turns, caught.model


class _Model(Callback):
    """Keeps the model of a run."""

    model: CVAE | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.model = cast(CVAE, pl_module)


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """What is printed goes nowhere, but the progress bar draws as it does in a terminal."""
    console = rich.get_console()
    before = console.__dict__.copy()
    with contextlib.redirect_stdout(io.StringIO()):
        rich.reconfigure(force_terminal=True, width=80)
        try:
            yield
        finally:
            console.__dict__.clear()
            console.__dict__.update(before)


def trained_model(compose: Compose, name: str, epochs: int) -> CVAE:
    """A model after some epochs of training, on the processor and in evaluation mode; 0 leaves its first weights."""
    overrides = [*model_overrides(name), *LITTLE_VALIDATION]
    if epochs == 0:
        return build(compose([*overrides, "data.source.train=1000"]))[1].eval()
    caught = _Model()
    with tempfile.TemporaryDirectory() as folder, terminal():
        train(compose([*overrides, f"trainer.max_epochs={epochs}"]), Path(folder), callbacks=[caught])
    assert caught.model is not None
    return caught.model.cpu().eval()
