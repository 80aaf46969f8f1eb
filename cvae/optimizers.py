"""Optimizers beside those of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

from cvae.errors import UserError

#: a step in 32 bits cannot hold more
LARGEST = 1e30


class MuonAdamW(Optimizer):
    """Muon for the weights that are matrices, AdamW for all others.

    Muon (Jordan et al. 2024) makes the momentum of a matrix orthogonal before a step, so that all of its directions
    move alike; it is defined for matrices only.

    Args:
        params: parameters.
        lr: learning rate of AdamW.
        matrix_lr: learning rate of Muon.
        weight_decay: of both.
        ns_steps: Newton-Schulz steps that make a matrix orthogonal. Muon's own default is 5; with 3 small networks
            learn as well, and half of a training step on a processor was spent here.

    Raises:
        UserError: for rates or a decay that make no sense.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        matrix_lr: float = 0.015,
        weight_decay: float = 0.0,
        ns_steps: int = 3,
    ) -> None:
        if ns_steps < 1:
            raise UserError(f"optimizer.ns_steps is {ns_steps}; it must be at least 1.")
        for name, value in {"lr": lr, "matrix_lr": matrix_lr, "weight_decay": weight_decay}.items():
            if not 0 <= value <= LARGEST:
                raise UserError(f"optimizer.{name} is {value}; it must be from 0 to {LARGEST:g}.")
        every = [one for one in params if one.requires_grad]
        # one without elements, of a network that is given no condition, has no norm to be divided by
        matrices = [one for one in every if one.dim() == 2 and one.numel() > 0]
        others = [one for one in every if one.dim() != 2 or one.numel() == 0]
        self._inner: list[Optimizer] = []
        if others:
            self._inner.append(AdamW(others, lr=lr, weight_decay=weight_decay))
        if matrices:
            self._inner.append(Muon(matrices, lr=matrix_lr, weight_decay=weight_decay, ns_steps=ns_steps))
        super().__init__([group for one in self._inner for group in one.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for inner, group in zip(self._inner, self.param_groups, strict=True):
            # loading a state replaces the groups and the state, and schedules write into the groups
            inner.param_groups, inner.state = [group], self.state
            inner.step()
        return loss
