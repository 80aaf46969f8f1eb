"""Likelihoods, the objective of a CVAE and that of an energy model, and schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.networks.base import Reconstruction
from cvae.recording import recorded

#: elementwise cost of a prediction for a target, a negative log-likelihood up to scale and constant
Likelihood = Callable[[Tensor, Tensor], Tensor]
#: factor as a function of the share of training that is done
Schedule = Callable[[float], float]

#: share of training over which beta is annealed; the rest is for the final value
ANNEALED = 0.8
#: share of training over which a y-term that comes late rises
RISE = 0.2


# --- likelihoods


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


# --- schedules


def linear_warmup(step: int, steps: int) -> float:
    """Factor that rises linearly from 0 at step 0 to 1 at ``steps`` and stays there; always 1 for ``steps=0``."""
    return 1.0 if steps <= 0 else min(step / steps, 1.0)


def geometric(progress: float, start: float, end: float) -> float:
    """Value that goes from ``start`` to ``end`` (both positive) by equal ratios, as ``progress`` goes from 0 to 1."""
    return float(start * (end / start) ** min(max(progress, 0.0), 1.0))


def constant() -> Schedule:
    """Factor 1 throughout."""
    return lambda progress: 1.0


def cosine(warmup: float = 0.0, floor: float = 0.0) -> Schedule:
    """Linear rise over the share ``warmup`` of training, then half a cosine down to ``floor``.

    Loshchilov & Hutter 2017, without restarts.

    Raises:
        UserError: unless ``0 <= warmup < 1`` and ``0 <= floor <= 1``.
    """
    if not 0 <= warmup < 1:
        raise UserError(f"scheduler.warmup is {warmup}; it is a share of training, at least 0 and below 1.")
    if not 0 <= floor <= 1:
        raise UserError(f"scheduler.floor is {floor}; it is a share of the learning rate, from 0 to 1.")

    def factor(progress: float) -> float:
        if progress < warmup:
            return max(progress / warmup, 1e-3)
        done = min((progress - warmup) / (1 - warmup), 1.0)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def one_cycle(peak: float = 0.3, start: float = 0.04, end: float = 1e-4) -> Schedule:
    """Cosine rise from ``start`` to 1 at the share ``peak`` of training, then a cosine down to ``end``.

    Smith & Topin 2018, with the cosine form that is usual today.

    Raises:
        UserError: unless ``0 < peak < 1``, and ``start`` and ``end`` are shares of the learning rate.
    """
    if not 0 < peak < 1:
        raise UserError(f"scheduler.peak is {peak}; it is a share of training, above 0 and below 1.")
    for name, value in (("start", start), ("end", end)):
        if not 0 <= value <= 1:
            raise UserError(f"scheduler.{name} is {value}; it is a share of the learning rate, from 0 to 1.")

    def factor(progress: float) -> float:
        if progress < peak:
            low, high, done = start, 1.0, progress / peak
        else:
            low, high, done = end, 1.0, 1 - min((progress - peak) / (1 - peak), 1.0)
        return low + (high - low) * 0.5 * (1 - math.cos(math.pi * done))

    return factor


# --- the objective


class Progress(NamedTuple):
    """How far a training is: the optimiser step, and how many there will be."""

    step: int
    total: int

    @property
    def share(self) -> float:
        """Share of training that is done."""
        return self.step / max(self.total, 1)


@recorded
class BetaSchedule:
    """How beta, the weight of the KL, comes to its value.

    Args:
        warmup_steps: steps over which beta rises linearly from 0 (Bowman et al. 2016).
        anneal: beta starts at ``anneal`` times its value and falls to it geometrically over the first 80 % of training
            (deterministic annealing, Rose 1998); 1 keeps it constant.

    Raises:
        UserError: for negative steps, a factor that is not positive, or both at once.
    """

    def __init__(self, warmup_steps: int = 0, anneal: float = 1.0) -> None:
        if warmup_steps < 0:
            raise UserError(f"loss.beta_schedule.warmup_steps is {warmup_steps}; it must be at least 0.")
        if not (anneal > 0 and math.isfinite(anneal)):
            raise UserError(f"loss.beta_schedule.anneal is {anneal}; it must be a positive number.")
        if anneal != 1 and warmup_steps > 0:
            raise UserError(
                f"loss.beta_schedule has anneal={anneal} and warmup_steps={warmup_steps}; beta can only fall or rise: "
                "set anneal=1 or warmup_steps=0."
            )
        self.warmup_steps, self.anneal = warmup_steps, anneal

    def factor(self, progress: Progress) -> float:
        """Factor of beta at a step."""
        if self.anneal != 1:
            return geometric(progress.share / ANNEALED, self.anneal, 1.0)
        return linear_warmup(progress.step, self.warmup_steps)


@recorded
class YTerm:
    """The reconstruction of the condition, ``f(x')`` against ``y``.

    Args:
        scale: unit in which residuals of y are measured, for example the gate of the misfit.
        saturation: size at which the term ``c`` of a reconstruction levels off, as ``c / (1 + c / saturation)`` (the
            form of Geman & McClure 1985). Where f oscillates, the gradient of a far miss points anywhere; so it
            vanishes, and only near misses are pulled in. None leaves the term as it is.
        start: share of training before the term comes in; it then rises linearly over a fifth of training. Where f
            oscillates, only a network that is near already gets a gradient that points to the solution.

    Raises:
        UserError: for a scale or saturation that is not positive, or a start outside [0, 1).
    """

    def __init__(self, scale: float = 1.0, saturation: float | None = None, start: float = 0.0) -> None:
        if not scale > 0:
            raise UserError(f"loss.y_term.scale is {scale}; it must be positive.")
        if saturation is not None and not saturation > 0:
            raise UserError(f"loss.y_term.saturation is {saturation}; it must be positive, or null.")
        if not 0 <= start < 1:
            raise UserError(f"loss.y_term.start is {start}; it must be at least 0 and below 1.")
        self.scale, self.saturation, self.start = scale, saturation, start

    def factor(self, progress: Progress) -> float:
        """Factor of the term's weight at a step."""
        return 1.0 if self.start == 0 else min(max((progress.share - self.start) / RISE, 0.0), 1.0)

    def level_off(self, cost: Tensor) -> Tensor:
        """``cost`` of each reconstruction, saturated."""
        return cost if self.saturation is None else cost / (1 + cost / self.saturation)


@recorded
class Objective:
    """``beta * KL + wx * cost(x', x) + wy * cost(f(x'), y)``: a bound with two reconstruction terms.

    Reconstruction terms are means over the values of one sample, the KL is a sum over the latent dimensions; the
    gradient of the y-term flows through ``f``. With ``reduction="sum"``, ``beta=1``, ``wx=1``, ``wy=0`` and a
    likelihood in nats the total is the negative evidence lower bound in nats (Kingma & Welling 2014; Sohn et al. 2015).

    Args:
        likelihood: elementwise cost of a prediction for a target.
        beta: weight of the KL (Higgins et al. 2017).
        wx: weight of the reconstruction of x.
        wy: weight of the reconstruction of y; 0 leaves the y-term out of the computation.
        beta_schedule: how beta comes to its value.
        y_term: unit, saturation and start of the reconstruction of y.
        reduction: ``mean`` or ``sum`` over the values of one sample.

    Raises:
        UserError: for a negative weight, no reconstruction term at all, or an unknown reduction.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        beta: float,
        wx: float,
        wy: float,
        beta_schedule: BetaSchedule | None = None,
        y_term: YTerm | None = None,
        reduction: str = "mean",
    ) -> None:
        if not callable(likelihood):
            raise UserError(f"loss.likelihood is {likelihood!r}; choose one with loss=mse, l1, huber or bernoulli.")
        for name, value in {"beta": beta, "wx": wx, "wy": wy}.items():
            if not value >= 0 or not math.isfinite(value):
                raise UserError(f"loss.{name} is {value}; it must be a number of at least 0.")
        if wx == 0 and wy == 0:
            raise UserError("loss.wx and loss.wy are both 0; nothing would be reconstructed.")
        if reduction not in ("mean", "sum"):
            raise UserError(f"loss.reduction is {reduction!r}; it must be mean or sum.")
        self.likelihood = likelihood
        self.beta, self.wx, self.wy = beta, wx, wy
        self.beta_schedule = beta_schedule or BetaSchedule()
        self.y_term = y_term or YTerm()
        self.reduction = reduction

    def __call__(
        self,
        reconstruction: Reconstruction,
        x: Tensor,
        y: Tensor,
        x_scale: Tensor | None = None,
        forward: Callable[[Tensor], Tensor] | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Tensor]:
        """Per-sample terms of one batch, each ``(batch,)``: ``loss`` (the total), the unweighted reconstruction terms
        ``x_term`` and, with a forward operator, ``y_term``, and ``kl`` in nats.

        Args:
            reconstruction: from the network, with solutions ``(batch, samples, *x_shape)``.
            x: the solutions ``(batch, *x_shape)``.
            y: their conditions ``(batch, *y_shape)``.
            x_scale: unit of residuals of x, broadcastable against x; None for 1. A noise that the network learns takes
                its place.
            forward: the forward operator; None for a task without one, which has no y-term.
            progress: where training is; None takes the final weights.
        """
        beta, wy = self.beta, self.wy if forward is not None else 0.0
        if progress is not None:
            beta, wy = beta * self.beta_schedule.factor(progress), wy * self.y_term.factor(progress)
        x_term = self.x_cost(reconstruction, x, x_scale)
        cost, y_term = self.wx * x_term, torch.zeros_like(x_term)
        if wy > 0 and forward is not None:
            scale = self.y_term.scale
            y_cost = self.likelihood(forward(reconstruction.x) / scale, (y / scale).unsqueeze(1))
            y_term = self.y_term.level_off(self._reduced(y_cost))
            cost = cost + wy * y_term
        bound = reconstruction.latent.bound(cost, beta)
        terms = {"loss": bound.total, "x_term": (bound.weights * x_term).sum(1)}
        if forward is not None:
            terms["y_term"] = (bound.weights * y_term).sum(1)
        return terms | {"kl": bound.kl}

    def x_cost(self, reconstruction: Reconstruction, x: Tensor, x_scale: Tensor | None = None) -> Tensor:
        """Unweighted cost ``(batch, samples)`` of the reconstructions of x; arguments as for the call.

        Where the network learns a noise, residuals are measured in its unit, and its logarithm makes the likelihood
        one of x.
        """
        found, target, log_noise = reconstruction.x, x.unsqueeze(1), reconstruction.log_noise
        if log_noise is not None:
            unit = log_noise.exp()
            return self._reduced(self.likelihood(found / unit, target / unit) + log_noise)
        if x_scale is not None:
            found, target = found / x_scale, target / x_scale
        return self._reduced(self.likelihood(found, target))

    def _reduced(self, cost: Tensor) -> Tensor:
        """``(batch, samples, ...)`` to ``(batch, samples)``."""
        flat = cost.flatten(2)
        return flat.mean(2) if self.reduction == "mean" else flat.sum(2)


@recorded
class ContrastiveDivergence:
    """``E(x) - E(x') + decay (E(x)^2 + E(x')^2)`` for data x and ends x' of Langevin dynamics.

    The gradient of the first two terms in the weights is that of the negative log-likelihood if x' are samples of the
    model (Hinton 2002). With ``chains``, these go on from one training step to the next (persistent contrastive
    divergence, Tieleman 2008), and some begin anew, so that the energy is right on the way from the start as well (Du &
    Mordatch 2019, "Implicit generation and modeling with energy-based models"); the last term is theirs, too, and keeps
    the energies, of which only differences matter, near 0. Without, chains begin at the data of each step.

    Args:
        chains: number of persistent chains, of which each training step moves as many as there are data; 0 is plain
            contrastive divergence.
        steps: Langevin steps for each training step.
        step_size: of them.
        restarts: share of the moved chains that begin anew; a chain gets ``steps / restarts`` steps on average.
        decay: weight of the squared energies.

    Raises:
        UserError: for a number that makes no sense, and for restarts without persistent chains.
    """

    def __init__(self, chains: int, steps: int, step_size: float, restarts: float, decay: float) -> None:
        if chains < 0:
            raise UserError(f"loss.chains is {chains}; it must be at least 0, which is plain contrastive divergence.")
        if steps < 1:
            raise UserError(f"loss.steps is {steps}; it must be at least 1.")
        if not 0 < step_size < math.inf:
            raise UserError(f"loss.step_size is {step_size}; it must be a positive number.")
        if not 0 <= restarts <= 1:
            raise UserError(f"loss.restarts is {restarts}; it is a share of the chains, from 0 to 1.")
        if chains == 0 and restarts > 0:
            raise UserError(f"loss.restarts is {restarts}, but loss.chains=0 has no chains to restart; set it to 0.")
        if not 0 <= decay < math.inf:
            raise UserError(f"loss.decay is {decay}; it must be a number of at least 0.")
        self.chains, self.steps, self.step_size = chains, steps, step_size
        self.restarts, self.decay = restarts, decay

    def __call__(self, data: Tensor, chains: Tensor) -> dict[str, Tensor]:
        """Per-sample terms, each ``(batch,)``, of the energies of as many data and ends of chains, in nats."""
        size = self.decay * (data.square() + chains.square())
        return {"loss": data - chains + size, "energy_data": data, "energy_chains": chains}
