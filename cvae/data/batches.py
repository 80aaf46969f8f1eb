"""Batches as slices of tensors that already live on the training device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.seeds import Purpose, stream


class Batch(NamedTuple):
    """Solutions ``x`` ``(batch, *x_shape)`` and their conditions ``y`` ``(batch, *y_shape)``."""

    x: Tensor
    y: Tensor


class EpochSampler:
    """The order in which one process visits ``count`` samples in one epoch.

    All processes permute alike and take every ``world``-th index, so no sample is visited twice. In training the
    remainder of ``count / world`` is left out, since every process must take the same number of steps; it is another
    one each epoch. Lightning calls :meth:`set_epoch`.
    """

    def __init__(self, count: int, *, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        self.count, self.shuffle, self.seed, self.rank, self.world = count, shuffle, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next."""
        self.epoch = epoch

    @property
    def share(self) -> int:
        """Number of samples of this process."""
        if self.shuffle:
            return self.count // self.world
        return len(range(self.rank, self.count, self.world))

    def order(self, device: torch.device) -> Tensor:
        """Indices of this process's samples, ``(share,)``."""
        if not self.shuffle:
            return torch.arange(self.rank, self.count, self.world, device=device)
        generator = stream(Purpose.ORDER, self.seed, self.epoch, device=device)
        order = torch.randperm(self.count, generator=generator, device=device)
        return order[self.rank :: self.world][: self.share]


class TensorLoader:
    """Iterates over :class:`Batch` slices of resident tensors; stands where a ``DataLoader`` would.

    Args:
        data: all samples, on the device that the batches shall have.
        batch_size: samples per batch of one process.
        sampler: which samples, in which order.
        refresh: called at the start of an epoch with the epoch's number, gives new data of the same size.
        perturb: called with each batch's ``y`` and a generator, gives the ``y`` that the network sees.
    """

    #: Lightning looks for it beside ``sampler``, as a ``DataLoader`` has both
    batch_sampler = None

    def __init__(
        self,
        data: Batch,
        batch_size: int,
        sampler: EpochSampler,
        refresh: Callable[[int], Batch] | None = None,
        perturb: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"data.batch_size is {batch_size}; it must be at least 1.")
        if sampler.share < 1:
            raise UserError(f"{sampler.count} samples are too few for {sampler.world} processes.")
        self.data, self.batch_size, self.sampler = data, batch_size, sampler
        self.refresh, self.perturb = refresh, perturb

    def __len__(self) -> int:
        # counted on the largest share, so that all processes agree
        largest = self.sampler.share if self.sampler.shuffle else math.ceil(self.sampler.count / self.sampler.world)
        return math.ceil(largest / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        sampler = self.sampler
        if self.refresh is not None:
            self.data = self.refresh(sampler.epoch)
        x, y = self.data
        noise = (
            stream(Purpose.TOLERANCE, sampler.seed, sampler.epoch, sampler.rank, device=y.device)
            if self.perturb
            else None
        )
        order = sampler.order(x.device)
        # equal pieces where shares may differ by one sample: the same number of batches everywhere, none empty
        pieces = order.split(self.batch_size) if sampler.shuffle else order.tensor_split(len(self))
        for index in pieces:
            # a third of the time of y[index]
            y_seen = y.index_select(0, index)
            if self.perturb is not None and noise is not None:
                y_seen = self.perturb(y_seen, noise)
            yield Batch(x.index_select(0, index), y_seen)
