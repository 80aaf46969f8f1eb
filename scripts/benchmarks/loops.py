"""Training next to a bare loop, block by block in turns within one process."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from timing import wall
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from cvae import CVAE
from cvae.data import Batch, TensorLoader
from cvae.losses import Progress
from cvae.networks import LatentNetwork
from cvae.runs.launch import run
from cvae.seeds import Purpose, stream


def bare_loop(trainer: Trainer, model: CVAE, network: LatentNetwork, usual: bool = False) -> Iterator[None]:
    """The updates that the Trainer does, as a plain loop; each step of the iterator is one.

    Given the same state of torch's generator at the start of each epoch, both end with the same weights to the bit.

    Args:
        trainer, model: about to train.
        network: a copy of the model's, which is trained.
        usual: as public code usually does it: a ``DataLoader`` of single items, torch's own choice of how an optimizer
            works, and ``.item()`` on every term in every step.
    """
    assert model.training_parts is not None
    optimizer = model.training_parts.optimizer(network.parameters())
    if usual:
        settings: dict[str, Any] = {**optimizer.defaults, "fused": None, "foreach": None}
        optimizer = type(optimizer)(network.parameters(), **settings)
    schedule, total = model.training_parts.schedule, int(trainer.estimated_stepping_batches)
    scheduler = LambdaLR(optimizer, lambda step: schedule(step / total)) if schedule else None
    scale = cast(Tensor | None, model._x_scale)
    loader: TensorLoader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
    sums: dict[str, float] = {}
    step = 0
    for epoch in itertools.count():
        for x, y in _usual_batches(loader) if usual else _batches(loader, epoch):
            with trainer.precision_plugin.train_step_context():
                found = network.reconstruct(x, y)
                terms = model.objective(found, x, y, scale, model.problem.forward, Progress(step, total))
                loss = terms["loss"].mean()
            optimizer.zero_grad()
            loss.backward()
            if trainer.gradient_clip_val:
                clip_grad_norm_(network.parameters(), trainer.gradient_clip_val)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            if usual:
                sums = {name: sums.get(name, 0.0) + term.mean().item() for name, term in terms.items()}
            step += 1
            yield


def _usual_batches(loader: TensorLoader) -> Iterator[Batch]:
    yield from DataLoader(TensorDataset(*loader.data), batch_size=loader.batch_size, shuffle=True)


def _batches(loader: TensorLoader, epoch: int) -> Iterator[Batch]:
    if loader.refresh is not None:
        loader.data = loader.refresh(epoch)
    data, seed, device = loader.data, loader.sampler.seed, loader.data.x.device
    order = torch.randperm(len(data.x), generator=stream(Purpose.ORDER, seed, epoch, device=device), device=device)
    noise = stream(Purpose.TOLERANCE, seed, epoch, 0, device=device)
    for index in order.split(loader.batch_size):
        x, y = (part.index_select(0, index) for part in data)
        yield Batch(x, y if loader.perturb is None else loader.perturb(y, noise))


class Turns(Callback):
    """Lets a bare loop do each block of steps right before the Trainer does it, and times both.

    The clock of the Trainer runs from the end of the other loop's turn to its next one, so it holds all that Lightning
    does between: fetching, hooks, logging, the start and end of epochs. Validation and checkpoints are left out.

    Args:
        block: steps in a turn.
        seconds: the training ends with the first epoch that ends after so many.
        usual: see :func:`bare_loop`.
    """

    def __init__(self, block: int, seconds: float, usual: bool = False) -> None:
        self.block, self.seconds, self.usual = block, seconds, usual
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._lap, self._since = 0.0, 0.0
        self._rng = torch.get_rng_state()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.model = cast(CVAE, pl_module)
        self.network = copy.deepcopy(self.model.network)
        self._loop = bare_loop(trainer, self.model, self.network, self.usual)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note when the first batches are over."""
        if batch_idx % self.block:
            return
        self._end_turn()
        outer = torch.get_rng_state()
        # the other loop's random numbers are its own, and those of the Trainer at the start of each epoch
        torch.set_rng_state(outer if batch_idx == 0 else self._rng)
        began = wall()
        for _ in range(min(self.block, int(trainer.num_training_batches) - batch_idx)):
            next(self._loop)
        self.theirs.append(wall() - began)
        self._rng = torch.get_rng_state()
        torch.set_rng_state(outer)
        self._lap, self._since = 0.0, wall()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note when training paused."""
        self._lap += wall() - self._since

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note when an epoch ended."""
        self._since = wall()
        trainer.should_stop = trainer.should_stop or sum(self.ours) + sum(self.theirs) > self.seconds

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._end_turn()

    def _end_turn(self) -> None:
        if len(self.ours) < len(self.theirs):
            self.ours.append(self._lap + wall() - self._since)


class Epochs(Callback):
    """Seconds of each epoch and of its validation, until the training goes on.

    Args:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = wall) -> None:
        self.clock = clock
        self.validations: list[float] = []
        self._starts: list[float] = []

    @property
    def epochs(self) -> list[float]:
        """Seconds of each epoch with its validation."""
        return [end - start for start, end in itertools.pairwise(self._starts)]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note when an epoch began."""
        self._starts.append(self.clock())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note when training paused."""
        self._validation = self.clock()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note when an epoch ended."""
        self.validations.append(self.clock() - self._validation)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._starts.append(self.clock())


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def train_unseen(cfg: DictConfig, callback: Callback) -> None:
    """Train as ``train.py`` does, in a folder that is then removed; the progress bar is drawn but not shown."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(_Terminal()):
        run(cfg, Path(folder), callbacks=[callback])
