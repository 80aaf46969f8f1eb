"""What the Trainer is held against: a bare loop over the same updates, and the usual way of the public starters."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import torch
from lightning import Trainer
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from cvae.data import Batch
from cvae.module import CVAE
from cvae.networks import LatentNetwork
from cvae.networks.latent import Gaussian, gaussian
from cvae.networks.starter import StarterDecoder, StarterEncoder
from cvae.seeds import stream


class Rival(Protocol):
    """Another way to train the same network on the same data, in portions."""

    network: LatentNetwork

    def begin_epoch(self, epoch: int) -> None: ...

    def run(self, steps: int) -> None:
        """The next steps of the epoch."""


class _Parts:
    """Copies of what a Trainer is about to train."""

    def __init__(self, trainer: Trainer, model: CVAE) -> None:
        self.network = copy.deepcopy(model.network)
        self.objective, self.forward = model.objective, model.problem.forward
        self.optimizer = self.make_optimizer(model)
        self.total = int(trainer.estimated_stepping_batches)
        schedule = model.schedule
        self.scheduler = LambdaLR(self.optimizer, lambda step: schedule(step / self.total)) if schedule else None
        self.clip = trainer.gradient_clip_val
        self.loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        self.step = 0

    def make_optimizer(self, model: CVAE) -> torch.optim.Optimizer:
        if model.make_optimizer is None:
            raise ValueError("the model has no optimizer.")
        return model.make_optimizer(self.network.parameters())

    def terms(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The means of the loss and its terms."""
        weights = self.objective.weights_at(self.step, self.total)
        reconstruction = self.network.reconstruct(x, y)
        found = self.objective(reconstruction, x, y, self.forward, weights)
        return found.total.mean(), found.x_term.mean(), found.y_term.mean(), found.kl.mean()

    def update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip:
            clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self.step += 1


def _by_index(samples: Tensor, index: Tensor) -> Tensor:
    return samples[index]


def _by_index_select(samples: Tensor, index: Tensor) -> Tensor:
    return samples.index_select(0, index)


class BareLoop(_Parts):
    """The very updates that the Trainer does, as a plain loop that logs nothing.

    Given the same state of torch's generator at the start of each epoch, both end with the same weights to the bit.

    Args:
        index_select: pick the samples of a batch as our loader does, not by ``x[index]`` as is usual.
    """

    def __init__(self, trainer: Trainer, model: CVAE, index_select: bool = False) -> None:
        super().__init__(trainer, model)
        self._pick = _by_index_select if index_select else _by_index

    def begin_epoch(self, epoch: int) -> None:
        sampler = self.loader.sampler
        order = torch.randperm(sampler.count, generator=stream(sampler.seed, epoch, 1))
        self._pieces = iter(order.split(self.loader.batch_size))
        self._noise = stream(sampler.seed, epoch, sampler.rank, 1)

    def run(self, steps: int) -> None:
        (every_x, every_y), perturb = self.loader.data, self.loader.perturb
        for _ in range(steps):
            index = next(self._pieces)
            x, y = self._pick(every_x, index), self._pick(every_y, index)
            if perturb is not None:
                y = perturb(y, self._noise)
            self.update(self.terms(x, y)[0])


class _Items(Dataset[Batch]):
    """One item at a time, as a dataset is usually written."""

    def __init__(self, data: Batch) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data.x)

    def __getitem__(self, index: int) -> Batch:
        return Batch(self.data.x[index], self.data.y[index])


def encode_by_layers(encoder: StarterEncoder, x: Tensor, y: Tensor) -> Gaussian:
    """The starter's encoder, layer by layer."""
    return gaussian(encoder.out(encoder.body(x.transpose(1, 2).unsqueeze(1))))


def decode_by_layers(decoder: StarterDecoder, z: Tensor, y: Tensor) -> Tensor:
    """The starter's decoder, layer by layer."""
    inputs = torch.cat([z, y.unsqueeze(1).expand(-1, z.shape[1], -1)], dim=-1)
    x = decoder.body(inputs.flatten(0, 1)).squeeze(1).transpose(1, 2)
    return x.unflatten(0, z.shape[:2])


def as_published(network: LatentNetwork) -> LatentNetwork:
    """Let a starter's network compute layer by layer, with the convolutions of torch; changes it in place.

    Raises:
        ValueError: if it is another network.
    """
    encoder, decoder = getattr(network, "encoder", None), getattr(network, "decoder", None)
    if not isinstance(encoder, StarterEncoder) or not isinstance(decoder, StarterDecoder):
        raise ValueError(f"{type(network).__name__} is not the starter's network: set model=starter.")
    encoder.forward = partial(encode_by_layers, encoder)  # type: ignore[method-assign]
    decoder.forward = partial(decode_by_layers, decoder)  # type: ignore[method-assign]
    return network


class UsualWay(_Parts):
    """A dataset of single items, ``DataLoader(shuffle=True)``, and ``.item()`` on four losses in every step.

    Of the starter's network, layer by layer, and with torch's own choice of how an optimizer works.
    """

    _batches: Iterator[Batch]

    def __init__(self, trainer: Trainer, model: CVAE) -> None:
        super().__init__(trainer, model)
        as_published(self.network)

    def make_optimizer(self, model: CVAE) -> torch.optim.Optimizer:
        ours = super().make_optimizer(model)
        settings: dict[str, Any] = {**ours.defaults, "fused": None, "foreach": None}
        return type(ours)(self.network.parameters(), **settings)

    def begin_epoch(self, epoch: int) -> None:
        items = _Items(self.loader.data)
        self._batches = iter(DataLoader(items, batch_size=self.loader.batch_size, shuffle=True))
        self.sums = [0.0] * 4

    def run(self, steps: int) -> None:
        for _ in range(steps):
            x, y = next(self._batches)
            terms = self.terms(x, y)
            self.update(terms[0])
            self.sums = [total + term.item() for total, term in zip(self.sums, terms, strict=True)]
