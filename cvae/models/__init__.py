"""Generative models as LightningModules, and their checkpoints."""

from cvae.models.cvae import CVAE
from cvae.models.generative import Evaluation, Generative, Training
from cvae.models.sampler import Sampler, Tempered

__all__ = ["CVAE", "Evaluation", "Generative", "Sampler", "Tempered", "Training"]
