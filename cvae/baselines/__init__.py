"""Ways to propose solutions without a CVAE; each has the ``draw`` of :class:`cvae.models.sampler.Sampler`."""

from cvae.baselines.densities import GaussianDensity, KernelDensity, MixtureDensity
from cvae.baselines.monte_carlo import AcceptanceRejection, MetropolisHastings
from cvae.baselines.prior import PriorDraws
from cvae.baselines.rejection import Rejection

__all__ = [
    "AcceptanceRejection",
    "GaussianDensity",
    "KernelDensity",
    "MetropolisHastings",
    "MixtureDensity",
    "PriorDraws",
    "Rejection",
]
