"""Ways to propose solutions without a CVAE; each has the ``draw`` of :class:`cvae.models.sampler.Sampler`."""

from cvae.baselines.prior import PriorDraws
from cvae.baselines.rejection import Rejection

__all__ = ["PriorDraws", "Rejection"]
