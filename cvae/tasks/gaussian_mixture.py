"""Points of a random mixture of Gaussians, given nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torchmetrics import MetricCollection

from cvae.errors import UserError
from cvae.metrics.mixtures import Outside, WeightError
from cvae.metrics.records import Drawn
from cvae.seeds import Purpose, stream
from cvae.tasks.task import GenerationTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: numbers of components that a mixture may have
FEWEST, MOST = 2, 8
#: standard deviations along the axes of a component
NARROWEST, WIDEST = 0.5, 1.0
#: of the weight of a component
LEAST_WEIGHT = 0.05
#: places that are tried for a mean before the cube that they are in is made larger, and by how much
TRIES, GROWTH = 100, 1.05


class Mixture(NamedTuple):
    """A mixture of Gaussians.

    Attributes:
        weights: of the components, ``(components,)``, which sum to 1.
        means: ``(components, dimensions)``.
        factors: lower triangular factors of the covariances, ``(components, dimensions, dimensions)``.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def log_joint(self, x: Tensor) -> Tensor:
        """``log p(k) + log p(x|k)`` of points ``(..., dimensions)``, ``(..., components)``, in nats."""
        weights, means, factors = (part.to(x) for part in self)
        return weights.log() + MultivariateNormal(means, scale_tril=factors).log_prob(x.unsqueeze(-2))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of points ``(..., dimensions)``, ``(...)``, in nats."""
        return self.log_joint(x).logsumexp(-1)

    def distances(self, x: Tensor) -> Tensor:
        """Mahalanobis distances of points ``(..., dimensions)`` to the means, ``(..., components)``."""
        _, means, factors = (part.to(x) for part in self)
        shifts = (x.unsqueeze(-2) - means).unsqueeze(-1)
        return torch.linalg.solve_triangular(factors, shifts, upper=False).squeeze(-1).norm(dim=-1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` points, ``(count, dimensions)``."""
        k = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], 1, generator=generator)
        return self.means[k] + (self.factors[k] @ noise).squeeze(-1)


def random_mixture(
    components: int | None, separation: float, generator: torch.Generator, dimensions: int = 3
) -> Mixture:
    """A mixture of Gaussians with random weights, means and full covariances, on the CPU.

    Args:
        components: how many; None draws the number.
        separation: least distance of two means, in standard deviations along the longest axis of the wider component.
        generator: source of all randomness.
        dimensions: of a point.
    """
    drawn = int(torch.randint(FEWEST, MOST + 1, (), generator=generator))
    count = drawn if components is None else components
    scales = NARROWEST + (WIDEST - NARROWEST) * torch.rand(count, dimensions, generator=generator)
    axes = torch.linalg.qr(torch.randn(count, dimensions, dimensions, generator=generator)).Q
    factors = torch.linalg.cholesky((axes * scales.square().unsqueeze(1)) @ axes.mT)
    # the Dirichlet distribution with concentration 2
    shares = -torch.rand(2, count, generator=generator).clamp_min(1e-6).log().sum(0)
    weights = LEAST_WEIGHT + (1 - count * LEAST_WEIGHT) * shares / shares.sum()
    return Mixture(weights, _apart(separation * scales.amax(1), dimensions, generator), factors)


def _apart(reach: Tensor, dimensions: int, generator: torch.Generator) -> Tensor:
    """Random means ``(components, dimensions)`` around 0, any two at least the larger ``reach`` of both apart."""
    side = float(reach.max())
    while True:
        means: list[Tensor] = []
        for own in reach:
            places = side * (torch.rand(TRIES, dimensions, generator=generator) - 0.5)
            if means:
                least = torch.maximum(reach[: len(means)], own)
                places = places[(torch.cdist(places, torch.stack(means)) >= least).all(1)]
            if len(places) == 0:
                break
            means.append(places[0])
        if len(means) == len(reach):
            found = torch.stack(means)
            return found - found.mean(0)
        side *= GROWTH


@dataclass(frozen=True)
class GaussianMixture(GenerationTask):
    """Points ``(dimensions,)`` of a random mixture of Gaussians, whose density is known; ``y`` is ``(0,)``, nothing.

    Args:
        components: how many Gaussians, 2 to 8; None draws the number.
        separation: least distance of two means, in standard deviations of the wider component along its longest axis.
        seed: fixes the mixture.
        dimensions: of a point, at least 2.

    Raises:
        UserError: for another number of components or dimensions, or a separation that is not positive.
    """

    components: int | None = None
    separation: float = 4.0
    seed: int = 0
    dimensions: int = 3
    headline = "loss"

    def __post_init__(self) -> None:
        if self.components is not None and not FEWEST <= self.components <= MOST:
            raise UserError(f"data.components is {self.components}; it must be from {FEWEST} to {MOST}, or null.")
        if not 0 < self.separation < float("inf"):
            raise UserError(f"data.separation is {self.separation}; it must be a positive number.")
        if self.dimensions < 2:
            raise UserError(f"data.dimensions is {self.dimensions}; it must be at least 2.")

    @cached_property
    def density(self) -> Mixture:
        """The true density."""
        generator = stream(Purpose.SIMULATION, self.seed, 0)
        return random_mixture(self.components, self.separation, generator, self.dimensions)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of one point."""
        return (self.dimensions,)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Nothing is given."""
        return (0,)

    @property
    def config(self) -> dict[str, Any]:
        """Plain data from which the same task is built again."""
        own = {name: getattr(self, name) for name in ("components", "separation", "seed", "dimensions")}
        return {"_target_": "cvae.tasks.GaussianMixture"} | own

    def measures(self) -> MetricCollection:
        """``weight_error`` and ``outside``, both against the true density."""
        density = self.density
        return MetricCollection(
            {"weight_error": WeightError(density.log_joint, density.weights), "outside": Outside(density.distances)}
        )

    def figures(self, drawn: Drawn, references: Sequence[Tensor] = ()) -> dict[str, Figure]:
        """One picture, ``points``: the draws beside as many points of the true density."""
        from cvae.tasks.point_figures import scatter_figure

        draws = drawn.x.detach().cpu().flatten(0, 1)
        true = self.density.sample(len(draws), stream(Purpose.SIMULATION, self.seed, 1))
        clouds = {"true density": true, "draws": draws}
        return {"points": scatter_figure(clouds, {name: self.density.log_joint(x) for name, x in clouds.items()})}

    def conditions(self, values: Sequence[float]) -> Tensor:
        """One empty condition ``(1, 0)``.

        Raises:
            UserError: for any number, since nothing is given.
        """
        if len(values) > 0:
            raise UserError("a mixture of points has no condition; leave condition out.")
        return torch.empty(1, 0)
