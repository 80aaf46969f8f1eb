"""Generative models as LightningModules, and their checkpoints."""

from cvae.models.cvae import CVAE, SET_TERMS
from cvae.models.energy import EnergyModel
from cvae.models.generative import Evaluation, Generative, Training
from cvae.models.kinds import kind_of
from cvae.models.langevin import Chains, langevin
from cvae.models.sampler import Sampler, Tempered

__all__ = [
    "CVAE",
    "SET_TERMS",
    "Chains",
    "EnergyModel",
    "Evaluation",
    "Generative",
    "Sampler",
    "Tempered",
    "Training",
    "kind_of",
    "langevin",
]
