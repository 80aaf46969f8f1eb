"""The objective of a CVAE: a bound with two reconstruction terms."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.losses.likelihoods import Likelihood
from cvae.losses.schedules import Progress, geometric, linear_warmup
from cvae.losses.sets import SetObjective
from cvae.networks.base import Reconstruction
from cvae.recording import recorded

#: share of training over which beta is annealed; the rest is for the final value
ANNEALED = 0.8
#: share of training over which a y-term that comes late rises
RISE = 0.2


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
        set_objective: of draws that are trained together, beside this; None leaves it out.

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
        set_objective: SetObjective | None = None,
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
        self.set_objective = set_objective or SetObjective(weight=0.0)

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
