"""Says in plain words when the posterior has collapsed, and what to change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cvae.errors import UserError
from cvae.models import CVAE

log = logging.getLogger(__name__)


class CollapseWarning(Callback):
    """Warns once when the latent carries almost nothing, so that all draws for one y are alike.

    Args:
        least_kl: nats per sample below which the posterior counts as collapsed.
        patience: validations in a row below it before the warning.
    """

    def __init__(self, least_kl: float = 0.1, patience: int = 2) -> None:
        if least_kl <= 0 or patience < 1:
            raise UserError(
                f"callbacks.collapse has least_kl={least_kl} and patience={patience}; "
                "they must be above 0 and at least 1."
            )
        self.least_kl = least_kl
        self.patience = patience
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
        kl = trainer.callback_metrics.get("val/kl")
        if kl is None or trainer.state.fn != "fit" or trainer.sanity_checking or self._warned:
            return
        self._below = self._below + 1 if float(kl) < self.least_kl else 0
        self._warned = self._below == self.patience
        if self._warned and trainer.is_global_zero:
            log.warning("%s", self.message(cast(CVAE, pl_module), float(kl), trainer.callback_metrics))

    @staticmethod
    def message(model: CVAE, kl: float, measures: Mapping[str, Tensor]) -> str:
        """The warning."""
        objective = model.objective
        units = measures.get("val/active_units")
        active = "" if units is None else f" and {float(units):.0f} active units"
        return (
            f"the posterior has collapsed: the latent carries {kl:.2g} nats per sample{active}, so all draws for one y "
            f"are nearly the same. The KL costs more than it brings: lower loss.beta (now {objective.beta:g}) or raise "
            f"loss.wx (now {objective.wx:g}), by factors of ten."
        )
