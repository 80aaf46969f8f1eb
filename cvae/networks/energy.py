"""The model ``energy``: the energy of an unnormalised density, of points given nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from cvae.errors import UserError
from cvae.networks.trunks import Dense, Trunk
from cvae.recording import recorded


class EnergyNetwork(nn.Module):
    """``E(x) = f(x) + |x|^2 / (2 spread^2)``, of the density ``exp(-E(x)) / Z``.

    The density is ``exp(-f(x))`` times the reference measure ``N(0, spread^2 I)``, from which Langevin dynamics start:
    far from all data it falls off like that, whatever f has learned.

    Args:
        trunk: from ``x`` to features; has ``width``. Its activation must be smooth, since E is differentiated twice.
        spread: standard deviation of the reference measure.
    """

    def __init__(self, trunk: Trunk, spread: float) -> None:
        super().__init__()
        self.trunk = trunk
        self.out = nn.Linear(trunk.width, 1)
        self.spread = spread

    def forward(self, x: Tensor) -> Tensor:
        """Points ``(..., dimensions)`` to energies ``(...)`` in nats."""
        confinement = x.square().sum(-1) / (2 * self.spread**2)
        return self.out(self.trunk(x)).squeeze(-1) + confinement


@recorded
def energy(x_shape: Sequence[int], hidden: Sequence[int], spread: float = 3.0) -> EnergyNetwork:
    """A plain perceptron with SiLU.

    Args:
        x_shape: ``(dimensions,)``.
        hidden: layer sizes.
        spread: standard deviation of the reference measure, and of the start of Langevin dynamics.

    Raises:
        UserError: for sizes that make no sense, or a spread that is not positive.
    """
    if len(x_shape) != 1:
        raise UserError(f"model.x_shape is {list(x_shape)}; an energy is one of points, such as [2].")
    if not 0 < spread < math.inf:
        raise UserError(f"model.spread is {spread}; it must be a positive number.")
    return EnergyNetwork(Dense(x_shape[0], hidden), spread)
