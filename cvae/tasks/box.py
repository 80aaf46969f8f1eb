"""Vectors of parameters in a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cvae.errors import UserError
from cvae.tasks.space import IndependentPrior, PriorConfig, Space, checked_bounds, plain_prior


class Box(Space):
    """Solutions that are their own parameters, each in a range of its own.

    Args:
        bounds: ``[lowest, highest]`` for each parameter.
        prior: ``uniform`` or ``normal``, for all or one entry for each, see
            :class:`cvae.tasks.space.IndependentPrior`.

    Raises:
        UserError: for no parameter, an empty range or an unknown prior.
    """

    def __init__(self, bounds: Sequence[Sequence[float]], prior: PriorConfig = "uniform") -> None:
        if not bounds or not isinstance(bounds, Sequence):
            given = bounds or "empty"
            raise UserError(f"data.bounds is {given}; give [lowest, highest] for each parameter, for example [[0, 1]].")
        self.bounds = tuple(checked_bounds(f"data.bounds[{number}]", bound) for number, bound in enumerate(bounds))
        self.parameters = len(self.bounds)
        self.x_shape = (self.parameters,)
        self.prior = IndependentPrior(prior, self.bounds)
        bounds_given = [list(bound) for bound in self.bounds]
        self.config: dict[str, Any] = {
            "_target_": "cvae.tasks.Box",
            "bounds": bounds_given,
            "prior": plain_prior(prior),
        }

    @property
    def value_bounds(self) -> tuple[tuple[float, float], ...]:
        """Bounds of each entry."""
        return self.bounds

    @property
    def names(self) -> list[str]:
        """``x0``, ``x1``, ..."""
        return [f"x{number}" for number in range(self.parameters)]

    def decode(self, theta: Tensor) -> Tensor:
        """``theta`` ``(..., parameters)`` itself."""
        return theta

    def encode(self, x: Tensor) -> Tensor:
        """``x`` ``(..., parameters)`` itself."""
        return x

    def project(self, theta: Tensor) -> Tensor:
        """``theta`` ``(..., parameters)`` with every entry in its range."""
        return self.clamp(theta)

    def squared_error(self, theta: Tensor, x: Tensor) -> Tensor:
        """Mean squared distance ``(...)`` of vectors ``(..., parameters)``, in units of their ranges."""
        return ((theta - x) / self.x_scale(x)).square().mean(-1)
