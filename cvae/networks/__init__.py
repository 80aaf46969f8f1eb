"""Plain ``nn.Module``s: encoders, decoders, output heads and priors, and the models assembled from them."""

from cvae.networks.base import Decoder, Encoder, GaussianCVAE, LatentNetwork, Reconstruction
from cvae.networks.branches import BranchedCVAE, branches
from cvae.networks.convolutional import conv
from cvae.networks.divergences import KL, MMD, BatchDivergence, Divergence, LatentOptions, SlicedWasserstein
from cvae.networks.energy import EnergyNetwork, energy
from cvae.networks.heads import Head, ParametersHead, ProbabilitiesHead, ValuesHead
from cvae.networks.latent import Bound, BranchedLatent, EnumeratedLatent, GaussianLatent, Latent, SampledLatent
from cvae.networks.mixture import CategoricalCVAE, mixture
from cvae.networks.modulated import ModulatedDecoder
from cvae.networks.perceptrons import deep, dense, film
from cvae.networks.points import NoisyCVAE, points
from cvae.networks.posteriors import Gaussian, Posterior, StudentT, Uniform
from cvae.networks.priors import (
    ConditionedNormal,
    LearnedMixture,
    Prior,
    StandardNormal,
    StandardStudentT,
    StandardUniform,
)
from cvae.networks.scalers import ConditionScaler, RangeScaler, StandardScaler
from cvae.networks.starter import starter

__all__ = [
    "KL",
    "MMD",
    "BatchDivergence",
    "Bound",
    "BranchedCVAE",
    "BranchedLatent",
    "CategoricalCVAE",
    "ConditionScaler",
    "ConditionedNormal",
    "Decoder",
    "Divergence",
    "Encoder",
    "EnergyNetwork",
    "EnumeratedLatent",
    "Gaussian",
    "GaussianCVAE",
    "GaussianLatent",
    "Head",
    "Latent",
    "LatentNetwork",
    "LatentOptions",
    "LearnedMixture",
    "ModulatedDecoder",
    "NoisyCVAE",
    "ParametersHead",
    "Posterior",
    "Prior",
    "ProbabilitiesHead",
    "RangeScaler",
    "Reconstruction",
    "SampledLatent",
    "SlicedWasserstein",
    "StandardNormal",
    "StandardScaler",
    "StandardStudentT",
    "StandardUniform",
    "StudentT",
    "Uniform",
    "ValuesHead",
    "branches",
    "conv",
    "deep",
    "dense",
    "energy",
    "film",
    "mixture",
    "points",
    "starter",
]
