"""Plain ``nn.Module``s: encoders, decoders, output heads and priors, and the models assembled from them."""

from cvae.networks.base import Decoder, Encoder, GaussianCVAE, LatentNetwork, Reconstruction
from cvae.networks.convolutional import conv
from cvae.networks.heads import Head, ParametersHead, ProbabilitiesHead, ValuesHead
from cvae.networks.latent import (
    Bound,
    ConditionedNormal,
    EnumeratedLatent,
    Gaussian,
    GaussianLatent,
    Latent,
    LearnedMixture,
    Prior,
    SampledLatent,
    StandardNormal,
)
from cvae.networks.mixture import CategoricalCVAE, mixture
from cvae.networks.perceptrons import deep, dense
from cvae.networks.points import NoisyCVAE, points
from cvae.networks.scalers import ConditionScaler, RangeScaler, StandardScaler
from cvae.networks.starter import starter

__all__ = [
    "Bound",
    "CategoricalCVAE",
    "ConditionScaler",
    "ConditionedNormal",
    "Decoder",
    "Encoder",
    "EnumeratedLatent",
    "Gaussian",
    "GaussianCVAE",
    "GaussianLatent",
    "Head",
    "Latent",
    "LatentNetwork",
    "LearnedMixture",
    "NoisyCVAE",
    "ParametersHead",
    "Prior",
    "ProbabilitiesHead",
    "RangeScaler",
    "Reconstruction",
    "SampledLatent",
    "StandardNormal",
    "StandardScaler",
    "ValuesHead",
    "conv",
    "deep",
    "dense",
    "mixture",
    "points",
    "starter",
]
