"""Data modules, the sources that fill them, and files."""

from cvae.data.batches import Batch, EpochSampler, TensorLoader
from cvae.data.inverse import InverseData, LineTriples, Vectors
from cvae.data.pairs import Counts, PairData, Splits
from cvae.data.sources import PairFiles, Simulation, simulate
from cvae.data.tolerance import SmoothTolerance

__all__ = [
    "Batch",
    "Counts",
    "EpochSampler",
    "InverseData",
    "LineTriples",
    "PairData",
    "PairFiles",
    "Simulation",
    "SmoothTolerance",
    "Splits",
    "TensorLoader",
    "Vectors",
    "simulate",
]
