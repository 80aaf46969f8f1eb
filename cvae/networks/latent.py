"""The bound that each kind of latent gives."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from cvae.networks.posteriors import Gaussian


class Bound(NamedTuple):
    """Per-sample bound, each ``(batch,)``: the total to be minimised, and the KL in nats; and the weight of each sample
    of the latent in the reconstruction terms, ``(batch, samples)``, which sum to 1."""

    total: Tensor
    kl: Tensor
    weights: Tensor


class Choice(NamedTuple):
    """Values ``k`` of a discrete latent, and where in the interval of its value each point lies, ``within`` 0 to 1;
    both ``(batch, draws)``."""

    k: Tensor
    within: Tensor


@torch.no_grad()
def choose(log_prior: Tensor, u: Tensor, temperature: float = 1.0) -> Choice:
    """Values of a discrete latent, by the inverse of its distribution function.

    The values stand in order of probability. Evenly spread points then give distinct ones, and of the many with little
    probability, which lie side by side, together as many as all of them are due. Of uniform points, ``within`` is
    uniform as well and does not depend on ``k``; of even ones, those of one value are even. No gradient of
    ``p(k|y)`` flows through either.

    Args:
        log_prior: ``log p(k|y)``, ``(batch, values)``.
        u: uniform numbers ``(batch, draws)``.
        temperature: power ``1 / temperature`` of the probabilities.
    """
    # autocast may give half precision, in which sums of many probabilities are off
    log_prior = (log_prior.to(u.dtype) / temperature).log_softmax(-1)
    order = log_prior.argsort(dim=1, descending=True)
    ends = log_prior.gather(1, order).exp().cumsum(1)
    rank = torch.searchsorted(ends, u.contiguous()).clamp_max(log_prior.shape[1] - 1)
    start, end = pad(ends[:, :-1], (1, 0)).gather(1, rank), ends.gather(1, rank)
    within = (u - start) / (end - start).clamp_min(torch.finfo(u.dtype).tiny)
    return Choice(order.gather(1, rank), within.clamp(0, 1))


class Latent(Protocol):
    """Posterior and prior of the latent of a training batch."""

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """Expected cost plus ``beta`` times the KL of posterior and prior.

        Args:
            cost: weighted reconstruction terms of each sample of the latent, ``(batch, samples)``.
            beta: weight of the KL (Higgins et al. 2017); at least 0.
        """


class GaussianLatent(NamedTuple):
    """A Gaussian posterior, of which the samples were drawn, and a Gaussian prior; each ``(batch, latent_dim)``."""

    posterior: Gaussian
    prior: Gaussian

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """Mean cost of the samples plus ``beta * KL``."""
        kl = self.posterior.kl(self.prior).sum(-1)
        weights = torch.full_like(cost, 1 / cost.shape[1]).detach()
        return Bound(cost.mean(1) + beta * kl, kl, weights)


class EnumeratedLatent(NamedTuple):
    """A discrete latent whose values were enumerated.

    Attributes:
        log_prior: ``log p(k|y)`` of each enumerated value, ``(batch, samples)``.
    """

    log_prior: Tensor

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """``-beta log sum_k p(k|y) exp(-cost(k) / beta)``.

        This is the bound at its best posterior, ``q(k) ~ p(k|y) exp(-cost(k) / beta)``.
        """
        temperature = max(beta, 1e-8)
        energy = self.log_prior - cost / temperature
        total = -temperature * torch.logsumexp(energy, dim=1)
        log_q = energy.log_softmax(1).detach()
        weights = log_q.exp()
        return Bound(total, (weights * (log_q - self.log_prior.detach())).sum(1), weights)


class SampledLatent(NamedTuple):
    """A latent whose prior gives no closed form of the KL.

    Attributes:
        log_ratio: ``log q(z|x,y) - log p(z|y)`` of each sample, ``(batch, samples)``; its mean estimates the KL.
    """

    log_ratio: Tensor

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """Mean over the samples of ``cost + beta * log_ratio``."""
        kl = self.log_ratio.mean(1)
        weights = torch.full_like(cost, 1 / cost.shape[1]).detach()
        return Bound(cost.mean(1) + beta * kl, kl, weights)


class BranchedLatent(NamedTuple):
    """A Gaussian latent z and a discrete one k, whose values were enumerated for one sample of z."""

    z: GaussianLatent
    k: EnumeratedLatent

    def bound(self, cost: Tensor, beta: float) -> Bound:
        """``-beta log sum_k p(k|y) exp(-cost(k) / beta) + beta * KL`` of z.

        This is the bound at the best posterior ``q(k|z,x,y)``.
        """
        branches = self.k.bound(cost, beta)
        whole = self.z.bound(branches.total.unsqueeze(1), beta)
        return Bound(whole.total, whole.kl + branches.kl, branches.weights)
