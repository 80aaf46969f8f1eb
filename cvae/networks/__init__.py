"""Plain ``nn.Module``s: encoders, decoders, output heads and priors, and the models assembled from them."""

from cvae.networks.base import Decoder, Encoder, GaussianCVAE, LatentNetwork, Reconstruction
from cvae.networks.heads import Head, ParametersHead, ValuesHead
from cvae.networks.latent import Bound, EnumeratedLatent, Gaussian, GaussianLatent, Latent, StandardNormal
from cvae.networks.mixture import CategoricalCVAE, mixture
from cvae.networks.perceptrons import deep, dense
from cvae.networks.scalers import ConditionScaler, RangeScaler
from cvae.networks.starter import starter

__all__ = [
    "Bound",
    "CategoricalCVAE",
    "ConditionScaler",
    "Decoder",
    "Encoder",
    "EnumeratedLatent",
    "Gaussian",
    "GaussianCVAE",
    "GaussianLatent",
    "Head",
    "Latent",
    "LatentNetwork",
    "ParametersHead",
    "RangeScaler",
    "Reconstruction",
    "StandardNormal",
    "ValuesHead",
    "deep",
    "dense",
    "mixture",
    "starter",
]
