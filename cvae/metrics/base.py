"""The states that measures share: a sum over conditions and their number, or all draws."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cvae.metrics.records import Drawn

#: types of devices that have no double precision
SINGLE_ONLY = {"mps"}


class Sums(Metric):
    """A metric whose sums are in double precision, or in single where the device has no other."""

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **options: Any) -> Sums:
        if fn(torch.empty(0)).device.type in SINGLE_ONLY:
            for name, default in self._defaults.items():
                if isinstance(default, Tensor) and default.dtype == torch.float64:
                    self._defaults[name] = default.float()
                    setattr(self, name, getattr(self, name).float())
        super()._apply(fn, *args, **options)
        return self


class RunningMean(Sums):
    """A sum over conditions and their number; exact over batches and processes."""

    full_state_update = False
    is_differentiable = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """The mean over all conditions so far; nan if there were none."""
        return (self.total / self.count).float()


class MeanOverConditions(RunningMean):
    """Mean over conditions of a per-condition measure.

    A subclass gives :meth:`measure`. All measures are updated alike, by a :class:`~cvae.metrics.Drawn`, so they work in
    one :class:`torchmetrics.MetricCollection`.
    """

    @abstractmethod
    def measure(self, drawn: Drawn) -> Tensor:
        """Per-condition values ``(batch,)``."""

    def update(self, drawn: Drawn) -> None:
        """Add the draws of some conditions.

        Raises:
            ValueError: for a check of other draws.
        """
        if drawn.check is not None and drawn.x.shape[:2] != drawn.check.valid.shape:
            raise ValueError(
                f"{tuple(drawn.x.shape)} draws do not go with a check of {tuple(drawn.check.valid.shape)}."
            )
        self.total += self.measure(drawn).to(self.total.dtype).sum()
        self.count += len(drawn.x)


class AllDraws(Metric):
    """The draws of all conditions, kept for a distance of which less is better."""

    full_state_update = False
    higher_is_better = False
    which: list[Tensor]
    draws: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        # flat and of the metric's own type, since torchmetrics sends an empty tensor of that kind for a process that
        # has no draws, and processes must send the same
        self.add_state("which", [], dist_reduce_fx="cat")
        self.add_state("draws", [], dist_reduce_fx="cat")

    def update(self, drawn: Drawn) -> None:
        """Add the draws for some conditions."""
        self.which.append(drawn.which.to(self.dtype))
        self.draws.append(drawn.x.flatten().to(self.dtype))

    def all_draws(self, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The places of the conditions ``(count,)``, and their draws ``(count, draws, *shape)``, on the CPU."""
        which, draws = (dim_zero_cat(part).cpu() for part in (self.which, self.draws))
        return which.long(), draws.view(len(which), -1, *shape)
