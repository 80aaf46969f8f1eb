"""Data modules, the sources that fill them, and files."""

from cvae.data.batches import Batch, EpochSampler, TensorLoader
from cvae.data.curve_sources import CurveFiles, SimulatedCurves
from cvae.data.digits import MNIST, DigitData, SmallDigits
from cvae.data.gaussian_mixture import GaussianMixtureData
from cvae.data.inverse import InverseData, LineTriples, Vectors
from cvae.data.light_curves import LightCurveData
from cvae.data.pairs import Counts, PairData, Report, Splits, TrainedModel
from cvae.data.sea_temperature import SeaTemperatureData, sea_measures
from cvae.data.sources import PairFiles, Simulation, simulate
from cvae.data.swiss_roll import SwissRollData
from cvae.data.tolerance import SmoothTolerance

__all__ = [
    "MNIST",
    "Batch",
    "Counts",
    "CurveFiles",
    "DigitData",
    "EpochSampler",
    "GaussianMixtureData",
    "InverseData",
    "LightCurveData",
    "LineTriples",
    "PairData",
    "PairFiles",
    "Report",
    "SeaTemperatureData",
    "SimulatedCurves",
    "Simulation",
    "SmallDigits",
    "SmoothTolerance",
    "Splits",
    "SwissRollData",
    "TensorLoader",
    "TrainedModel",
    "Vectors",
    "sea_measures",
    "simulate",
]
