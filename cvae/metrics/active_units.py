"""How many latent dimensions carry something."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.base import Sums

THRESHOLD = 0.01


def active_units(means: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Number of latent dimensions whose posterior mean varies over the data, Var(E[z|x,y]) > ``threshold``.

    Burda et al. 2016, "Importance weighted autoencoders".

    Args:
        means: posterior means ``(samples, latent_dim)``.
        threshold: smallest variance that counts.
    """
    return (means.double().var(0, correction=0) > threshold).sum()


class ActiveUnits(Sums):
    """See :func:`active_units`; keeps sums and sums of squares, so it is exact over batches and processes.

    Args:
        latent_dim: size of the latent.
        threshold: smallest variance that counts.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, latent_dim: int, threshold: float = THRESHOLD) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("total", torch.zeros(latent_dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squares", torch.zeros(latent_dim, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, means: Tensor) -> None:
        """Add posterior means ``(batch, latent_dim)``."""
        values = means.to(self.total.dtype)
        self.total += values.sum(0)
        self.squares += values.square().sum(0)
        self.count += len(means)

    def compute(self) -> Tensor:
        """Number of active dimensions, 0 before any update."""
        count = self.count.clamp_min(1)
        variance = self.squares / count - (self.total / count).square()
        return (variance > self.threshold).sum().float()
