"""The objective: reconstruction of x and of f(x), and the KL term."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from cvae.networks.base import Reconstruction
from cvae.partials import plain_call
from cvae.schedules import geometric, linear_warmup

Elementwise = Callable[[Tensor], Tensor]

# share of training over which beta is annealed; the rest is for the final value
ANNEALED = 0.8
# share of training over which a y-term that comes late rises
RISE = 0.2


class Weights(NamedTuple):
    """Weights that may change during training: of the KL and of the y-term."""

    beta: float
    wy: float


class LossTerms(NamedTuple):
    """Per-sample terms, each ``(batch,)``: the total, its unweighted reconstruction terms and the KL in nats."""

    total: Tensor
    x_term: Tensor
    y_term: Tensor
    kl: Tensor


def l1(residual: Tensor) -> Tensor:
    """``|r|``, elementwise."""
    return residual.abs()


def mse(residual: Tensor) -> Tensor:
    """``r**2``, elementwise."""
    return residual.square()


def huber(residual: Tensor, delta: float) -> Tensor:
    """``r**2 / 2`` up to ``delta``, then ``delta (|r| - delta / 2)``, elementwise (Huber 1964)."""
    size = residual.abs()
    return torch.where(size <= delta, 0.5 * size.square(), delta * (size - 0.5 * delta))


class Objective:
    """``beta * KL + wx * reconstruction(x) + wy * reconstruction(f(x'))``.

    Reconstruction terms are means over the values of one sample, the KL is a sum over the latent dimensions; the
    gradient of the y-term flows through ``f``.

    Args:
        elementwise: penalty on a residual.
        beta: weight of the KL (Higgins et al. 2017).
        wx: weight of the reconstruction of x.
        wy: weight of the reconstruction of y; 0 leaves the y-term out of the computation.
        y_scale: unit in which residuals of y are measured, for example the gate of the misfit.
        warmup_steps: steps over which beta rises linearly from 0 (Bowman et al. 2016).
        anneal: beta starts at ``anneal`` times its value and falls to it geometrically over the first 80 % of training
            (deterministic annealing, Rose 1998); 1 keeps it constant.
        y_saturation: size at which the y-term ``c`` of a reconstruction levels off, as ``c / (1 + c / y_saturation)``
            (the form of Geman & McClure 1985). Where f oscillates, the gradient of a far miss points anywhere; so it
            vanishes, and only near misses are pulled in. None leaves the term as it is.
        y_from: share of training before the y-term comes in; it then rises linearly over a fifth of training. Where f
            oscillates, only a network that is near already gets a gradient that points to the solution.

    Raises:
        ValueError: for a negative weight, a scale that is not positive, or no reconstruction term at all.
    """

    def __init__(
        self,
        elementwise: Elementwise,
        beta: float,
        wx: float,
        wy: float,
        y_scale: float = 1.0,
        warmup_steps: int = 0,
        anneal: float = 1.0,
        y_saturation: float | None = None,
        y_from: float = 0.0,
    ) -> None:
        for name, value in {"beta": beta, "wx": wx, "wy": wy, "warmup_steps": warmup_steps}.items():
            if not value >= 0 or not math.isfinite(value):
                raise ValueError(f"loss.{name} is {value}; it must be a number of at least 0.")
        if not y_scale > 0:
            raise ValueError(f"loss.y_scale is {y_scale}; it must be positive.")
        if wx == 0 and wy == 0:
            raise ValueError("loss.wx and loss.wy are both 0; nothing would be reconstructed.")
        self.elementwise = plain_call(elementwise)
        self.beta, self.wx, self.wy = beta, wx, wy
        self.y_scale = y_scale
        self.warmup_steps = warmup_steps
        if not (anneal > 0 and math.isfinite(anneal)):
            raise ValueError(f"loss.anneal is {anneal}; it must be a positive number.")
        if anneal != 1 and warmup_steps > 0:
            raise ValueError(
                f"loss.anneal is {anneal} and loss.warmup_steps is {warmup_steps}; beta can only fall or rise: set "
                "loss.anneal=1 or loss.warmup_steps=0."
            )
        self.anneal = anneal
        if y_saturation is not None and not y_saturation > 0:
            raise ValueError(f"loss.y_saturation is {y_saturation}; it must be positive, or null.")
        self.y_saturation = y_saturation
        if not 0 <= y_from < 1:
            raise ValueError(f"loss.y_from is {y_from}; it must be at least 0 and below 1.")
        self.y_from = y_from

    def weights_at(self, step: int, total: int) -> Weights:
        """Weights at an optimiser step of ``total``."""
        if self.anneal != 1:
            beta = self.beta * geometric(step / max(ANNEALED * total, 1), self.anneal, 1.0)
        else:
            beta = self.beta * linear_warmup(step, self.warmup_steps)
        risen = 1.0 if self.y_from == 0 else (step / max(total, 1) - self.y_from) / RISE
        return Weights(beta, self.wy * min(max(risen, 0.0), 1.0))

    def __call__(
        self,
        reconstruction: Reconstruction,
        x: Tensor,
        y: Tensor,
        forward: Callable[[Tensor], Tensor],
        weights: Weights | None = None,
    ) -> LossTerms:
        """Terms for one batch.

        Args:
            reconstruction: from the network, with solutions ``(batch, samples, ...)``.
            x: the solutions ``(batch, ...)``.
            y: their conditions ``(batch, ...)``.
            forward: the forward operator.
            weights: from :meth:`weights_at`; None takes the final ones.
        """
        beta, wy = weights or Weights(self.beta, self.wy)
        x_term = self.elementwise(reconstruction.x - x.unsqueeze(1)).flatten(2).mean(2)
        if wy > 0:
            residual = (forward(reconstruction.x) - y.unsqueeze(1)) / self.y_scale
            y_term = self.elementwise(residual).flatten(2).mean(2)
            if self.y_saturation is not None:
                y_term = y_term / (1 + y_term / self.y_saturation)
        else:
            y_term = torch.zeros_like(x_term)
        if reconstruction.kl is None:
            return self._weighted(x_term, y_term, cast(Tensor, reconstruction.log_prior), beta, wy)
        kl = reconstruction.kl.sum(-1)
        total = self.wx * x_term.mean(1) + wy * y_term.mean(1) + beta * kl
        return LossTerms(total, x_term.mean(1), y_term.mean(1), kl)

    def _weighted(self, x_term: Tensor, y_term: Tensor, log_prior: Tensor, beta: float, wy: float) -> LossTerms:
        """``-beta log sum_k p(k|y) exp(-cost(k) / beta)`` over the k of an enumerated latent.

        This is the objective at its best posterior, ``q(k) ~ p(k|y) exp(-cost(k) / beta)``.
        """
        cost = self.wx * x_term + wy * y_term
        temperature = max(beta, 1e-8)
        energy = log_prior - cost / temperature
        total = -temperature * torch.logsumexp(energy, dim=1)
        log_q = energy.log_softmax(1).detach()
        q = log_q.exp()
        kl = (q * (log_q - log_prior.detach())).sum(1)
        return LossTerms(total, (q * x_term).sum(1), (q * y_term).sum(1), kl)
