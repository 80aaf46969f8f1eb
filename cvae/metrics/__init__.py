"""Measures of generated solutions: a pure function and a torchmetrics Metric each."""

from torchmetrics import MetricCollection

from cvae.metrics.active_units import ActiveUnits, active_units
from cvae.metrics.against_references import AgainstReferences
from cvae.metrics.coverage import Coverage, coverage, raster
from cvae.metrics.coverage_limit import greedy_cover
from cvae.metrics.coverage_ratio import CoverageRatio, coverage_limit, coverage_ratio
from cvae.metrics.envelope import Envelope, envelope
from cvae.metrics.mode_recall import ModeRecall, mode_recall
from cvae.metrics.pearson import Pearson, pearson
from cvae.metrics.rmse import RMSE, rmse
from cvae.metrics.score import Score, score
from cvae.metrics.valid import Valid, valid_share
from cvae.problems import Problem

__all__ = [
    "RMSE",
    "ActiveUnits",
    "AgainstReferences",
    "Coverage",
    "CoverageRatio",
    "Envelope",
    "ModeRecall",
    "Pearson",
    "Score",
    "Valid",
    "active_units",
    "coverage",
    "coverage_limit",
    "coverage_ratio",
    "envelope",
    "greedy_cover",
    "line_metrics",
    "mode_recall",
    "pearson",
    "raster",
    "rmse",
    "score",
    "valid_share",
]


def line_metrics(problem: Problem) -> MetricCollection:
    """All measures of draws that need nothing but the draws and their check."""
    value_range = problem.geometry.range
    # one compute group would be wrong: the measures differ in their update
    return MetricCollection(
        {
            "score": Score(value_range),
            "coverage": Coverage(value_range),
            "envelope": Envelope(value_range),
            "valid": Valid(),
            "rmse": RMSE(),
            "pearson": Pearson(),
        },
        compute_groups=False,
    )
