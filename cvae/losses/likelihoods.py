"""Likelihoods: elementwise costs of a prediction for a target."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.recording import recorded

#: elementwise cost of a prediction for a target, a negative log-likelihood up to scale and constant
Likelihood = Callable[[Tensor, Tensor], Tensor]


@recorded
def absolute() -> Likelihood:
    """``|prediction - target|``: a Laplace likelihood."""
    return lambda prediction, target: (prediction - target).abs()


@recorded
def squared() -> Likelihood:
    """``(prediction - target)**2``: a Gaussian likelihood."""
    return lambda prediction, target: (prediction - target).square()


@recorded
def gaussian() -> Likelihood:
    """``(prediction - target)**2 / 2 + log(2 pi) / 2``: a Gaussian likelihood in nats with standard deviation 1, in the
    unit of the residuals, which is the learned noise of a network that has one (:class:`cvae.networks.NoisyCVAE`)."""
    return lambda prediction, target: 0.5 * (prediction - target).square() + 0.5 * math.log(2 * math.pi)


@recorded
def huber(delta: float) -> Likelihood:
    """``r**2 / 2`` for residuals ``r`` up to ``delta``, then ``delta (|r| - delta / 2)`` (Huber 1964).

    Raises:
        UserError: unless ``delta`` is positive.
    """
    if not delta > 0:
        raise UserError(f"loss.likelihood.delta is {delta}; it must be positive.")

    def cost(prediction: Tensor, target: Tensor) -> Tensor:
        size = (prediction - target).abs()
        return torch.where(size <= delta, 0.5 * size.square(), delta * (size - 0.5 * delta))

    return cost


@recorded
def bernoulli() -> Likelihood:
    """``-target log(prediction) - (1 - target) log(1 - prediction)`` in nats, for values in [0, 1].

    Predictions are probabilities; targets may be grey values, as in Kingma & Welling 2014.
    """

    def cost(prediction: Tensor, target: Tensor) -> Tensor:
        # probabilities that rounding has made 0 or 1 would cost infinity
        clipped = prediction.clamp(1e-6, 1 - 1e-6)
        return torch.nn.functional.binary_cross_entropy(clipped, target.expand_as(clipped), reduction="none")

    return cost
