"""Plain ``nn.Module``s: encoders, decoders, output heads and priors, and the models assembled from them."""

from cvae.networks.base import Decoder, Encoder, GaussianCVAE, LatentNetwork, Reconstruction
from cvae.networks.heads import EndpointsHead, PointsHead
from cvae.networks.latent import Gaussian, StandardNormal
from cvae.networks.mixture import CategoricalCVAE, mixture
from cvae.networks.perceptrons import deep, dense
from cvae.networks.starter import starter
from cvae.networks.trunks import ConditionScaler

__all__ = [
    "CategoricalCVAE",
    "ConditionScaler",
    "Decoder",
    "Encoder",
    "EndpointsHead",
    "Gaussian",
    "GaussianCVAE",
    "LatentNetwork",
    "PointsHead",
    "Reconstruction",
    "StandardNormal",
    "deep",
    "dense",
    "mixture",
    "starter",
]
