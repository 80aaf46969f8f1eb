"""Langevin dynamics: samples of a density whose energy has a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.errors import UserError

#: largest coordinate of a chain that has not diverged
BOUND = 1e3


class Chains(NamedTuple):
    """Where chains end.

    Attributes:
        x: ``(chains, *x_shape)``; nan for those that diverged.
        path: the start and the places after the first steps, ``(1 + kept, chains, *x_shape)``.
        diverged: bool ``(chains,)``: not finite, or a coordinate beyond 1,000 in size, after any step.
    """

    x: Tensor
    path: Tensor
    diverged: Tensor


def langevin(
    energy: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    step_size: float,
    generator: torch.Generator,
    kept: int = 0,
) -> Chains:
    """The unadjusted Langevin algorithm (Roberts & Tweedie 1996), ``x <- x - eps grad E(x) + sqrt(2 eps) noise``.

    For ``eps -> 0`` and many steps the chains are samples of ``exp(-E)``; for any other step size there is a bias that
    shrinks linearly with it. For a Gaussian of precision ``a`` the chains have the variance ``1 / a / (1 - eps a / 2)``
    instead of ``1 / a``, and diverge for ``eps > 2 / a``.

    Gradients are taken inside of ``torch.no_grad`` and ``torch.inference_mode``, too; the result has none.

    Args:
        energy: ``(chains, *x_shape) -> (chains,)``, each chain's own.
        start: ``(chains, *x_shape)``.
        steps: how many.
        step_size: ``eps``.
        generator: source of the noise.
        kept: first steps that are kept.

    Raises:
        UserError: for a negative number of steps, or a step size that is not positive.
    """
    check_steps(steps, step_size, "langevin")
    spread = math.sqrt(2 * step_size)
    with torch.inference_mode(False), torch.enable_grad():
        # a copy, since a tensor made in inference mode has no gradient
        x = start.detach().clone()
        diverged = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        path = [x]
        for step in range(steps):
            here = x.requires_grad_()
            (slope,) = torch.autograd.grad(energy(here).sum(), here)
            noise = torch.randn(x.shape, generator=generator, device=generator.device).to(x)
            x = here.detach() - step_size * slope + spread * noise
            # nan is not within the bound, either
            diverged |= ~(x.detach().flatten(1).abs().amax(1) <= BOUND)
            if step < kept:
                path.append(x)
        x = x.detach()
        x = x.masked_fill(diverged.view(-1, *[1] * (x.dim() - 1)), math.nan)
        return Chains(x, torch.stack([place.detach() for place in path]), diverged)


def check_steps(steps: int, step_size: float, where: str) -> None:
    """Check the steps and the step size of the entry ``where``.

    Raises:
        UserError: for a negative number of steps, or a step size that is not positive.
    """
    if steps < 0:
        raise UserError(f"{where}.steps is {steps}; it must be at least 0.")
    if not 0 < step_size < math.inf:
        raise UserError(f"{where}.step_size is {step_size}; it must be a positive number.")
