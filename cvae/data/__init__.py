"""Data modules, and the sources that fill them."""

from cvae.data.batches import Batch, EpochSampler, TensorLoader
from cvae.data.line_triples import LineTriples
from cvae.data.sources import LineFiles, Simulation, Splits, read_triples, simulate
from cvae.data.tolerance import SmoothTolerance

__all__ = [
    "Batch",
    "EpochSampler",
    "LineFiles",
    "LineTriples",
    "Simulation",
    "SmoothTolerance",
    "Splits",
    "TensorLoader",
    "read_triples",
    "simulate",
]
