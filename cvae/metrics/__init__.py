"""Measures of generated solutions: a pure function and a torchmetrics Metric each."""

from cvae.metrics.active_units import ActiveUnits, active_units
from cvae.metrics.choice import best_cover, exchange, greedy_cover
from cvae.metrics.curves import CurveRatios, curve_ratios, peaks
from cvae.metrics.dependence import kendall_error, kendall_values
from cvae.metrics.distributions import SampleDistances, anderson_darling, energy_scores, sample_distances
from cvae.metrics.draws import (
    RMSE,
    Coverage,
    Envelope,
    Pearson,
    RelativeRMSE,
    Score,
    Valid,
    coverage,
    envelope,
    hit_bins,
    pearson,
    rmse,
    score,
    valid_share,
)
from cvae.metrics.mixtures import Outside, WeightError, outside, weight_error
from cvae.metrics.records import Check, Drawn
from cvae.metrics.references import (
    CoverageRatio,
    ModeRecall,
    ReferenceDistance,
    coverage_limit,
    coverage_ratio,
    mode_hits,
)

__all__ = [
    "RMSE",
    "ActiveUnits",
    "Check",
    "Coverage",
    "CoverageRatio",
    "CurveRatios",
    "Drawn",
    "Envelope",
    "ModeRecall",
    "Outside",
    "Pearson",
    "ReferenceDistance",
    "RelativeRMSE",
    "SampleDistances",
    "Score",
    "Valid",
    "WeightError",
    "active_units",
    "anderson_darling",
    "best_cover",
    "coverage",
    "coverage_limit",
    "coverage_ratio",
    "curve_ratios",
    "energy_scores",
    "envelope",
    "exchange",
    "greedy_cover",
    "hit_bins",
    "kendall_error",
    "kendall_values",
    "mode_hits",
    "outside",
    "peaks",
    "pearson",
    "rmse",
    "sample_distances",
    "score",
    "valid_share",
    "weight_error",
]
