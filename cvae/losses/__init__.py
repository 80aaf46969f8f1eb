"""Likelihoods, the objective of a CVAE and that of an energy model, and schedules."""

from cvae.losses.contrastive_divergence import ContrastiveDivergence
from cvae.losses.likelihoods import Likelihood, absolute, bernoulli, gaussian, huber, squared
from cvae.losses.objective import BetaSchedule, Objective, YTerm
from cvae.losses.schedules import Progress, Schedule, constant, cosine, geometric, linear_warmup, one_cycle
from cvae.losses.sets import SetObjective, Sets, brought_nearer, choice_term, leave_one_out, smooth_coverage, violations

__all__ = [
    "BetaSchedule",
    "ContrastiveDivergence",
    "Likelihood",
    "Objective",
    "Progress",
    "Schedule",
    "SetObjective",
    "Sets",
    "YTerm",
    "absolute",
    "bernoulli",
    "brought_nearer",
    "choice_term",
    "constant",
    "cosine",
    "gaussian",
    "geometric",
    "huber",
    "leave_one_out",
    "linear_warmup",
    "one_cycle",
    "smooth_coverage",
    "squared",
    "violations",
]
