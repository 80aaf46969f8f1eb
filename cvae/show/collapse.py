"""Says in plain words when the latent carries nothing, and what to change."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cvae.errors import UserError
from cvae.models import CVAE
from cvae.networks import BatchDivergence, NoisyCVAE

log = logging.getLogger(__name__)


class CollapseWarning(Callback):
    """Warns once when the latent carries almost nothing though it had its chance: all draws for one y are alike then.

    Where no latent can pay, it says so at once. A nat costs beta, and the reconstruction of a Gaussian of variance
    ``c`` falls with the nats ``R`` as ``c exp(-2 R)`` (Cover & Thomas 2006, section 10.3), at most by ``2 c`` a nat. So
    with all that the reconstructions cost for ``c``, a beta above ``2 c`` is too high, however long the training.
    Otherwise the latent may still be on its way: it is told after half of the training, and not before ``least_steps``.

    Args:
        least_kl: nats per sample below which the posterior counts as collapsed.
        patience: validations in a row below it before the warning.
        least_steps: optimiser steps that a latent gets; the default models need a few hundred.
    """

    def __init__(self, least_kl: float = 0.1, patience: int = 2, least_steps: int = 1000) -> None:
        if least_kl <= 0 or patience < 1 or least_steps < 0:
            raise UserError(
                f"callbacks.collapse has least_kl={least_kl}, patience={patience} and least_steps={least_steps}; "
                "they must be above 0, at least 1 and at least 0."
            )
        self.least_kl, self.patience, self.least_steps = least_kl, patience, least_steps
        self._below = 0
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"below": self._below, "warned": self._warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a resumed run must know."""
        self._below, self._warned = state_dict["below"], state_dict["warned"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count validations below the threshold, and warn once."""
        measures, step = trainer.callback_metrics, trainer.global_step
        if "val/kl" not in measures or trainer.state.fn != "fit" or trainer.sanity_checking or self._warned:
            return
        self._below = self._below + 1 if float(measures["val/kl"]) < self.least_kl else 0
        if self._below < self.patience:
            return
        model = cast(CVAE, pl_module)
        largest = largest_beta(model, measures)
        hopeless = model.objective.beta > largest
        late = step >= max(self.least_steps, trainer.estimated_stepping_batches / 2)
        self._warned = hopeless or late
        if self._warned and trainer.is_global_zero:
            log.warning("%s%s", self.found(step, measures), advice(model, largest, hopeless))

    @staticmethod
    def found(step: int, measures: Mapping[str, Tensor]) -> str:
        """What is known."""
        units = measures.get("val/active_units")
        active = "" if units is None else f" and {float(units):.0f} active units"
        return (
            f"after {step} steps the latent carries {float(measures['val/kl']):.2g} nats per sample{active}, so all "
            "draws for one y are nearly the same. "
        )


def largest_beta(model: CVAE, measures: Mapping[str, Tensor]) -> float:
    """The beta above which no latent can pay, twice the cost of the reconstructions; infinite where a learned noise
    makes that cost a logarithm, of which zero is not the least, and where a nat does not cost beta."""
    network = model.network
    if isinstance(network, NoisyCVAE) or isinstance(getattr(network, "divergence", None), BatchDivergence):
        return math.inf
    costs = {"val/x_term": model.objective.wx, "val/y_term": model.objective.wy}
    return 2 * sum(weight * float(measures[name]) for name, weight in costs.items() if name in measures)


def advice(model: CVAE, largest: float, hopeless: bool) -> str:
    """What to change."""
    beta, wx = model.objective.beta, model.objective.wx
    if hopeless:
        return (
            f"It cannot pay: a nat costs loss.beta={beta:g}, and can save {largest:.2g} at most. Lower loss.beta by "
            f"factors of ten, below that, or raise loss.wx (now {wx:g})."
        )
    cures = ["lower loss.beta", "train longer (trainer.max_epochs) or with another optimizer.lr"]
    # the cost is shared by several dimensions, so that one nat saves a part of that
    first, second = cures if beta > largest / 10 else reversed(cures)
    told = "" if math.isinf(largest) else f"A nat costs loss.beta={beta:g} and can save {largest:.2g} at most. "
    return f"{told}{first.capitalize()}; if that does not help, {second}."
