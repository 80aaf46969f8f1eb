"""The objective of an energy model."""

from __future__ import annotations

import math

from torch import Tensor

from cvae.errors import UserError
from cvae.recording import recorded


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
