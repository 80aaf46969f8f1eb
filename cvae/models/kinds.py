"""Which class of model a config means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvae.models.cvae import CVAE
from cvae.models.energy import EnergyModel
from cvae.models.generative import Generative


def kind_of(config: Mapping[str, Any]) -> type[Generative]:
    """The class of the model that a config with the group ``loss`` means."""
    loss = (config.get("loss") or {}).get("_target_")
    return EnergyModel if loss == "cvae.losses.ContrastiveDivergence" else CVAE
