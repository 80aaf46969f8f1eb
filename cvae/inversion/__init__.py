"""Solutions without a network: refinement of parameters, reference sets, exact enumeration."""

from cvae.inversion.alignment import gradient_alignment
from cvae.inversion.measures import coverage_limits, reference_measures
from cvae.inversion.reference import (
    Budget,
    ReferenceSet,
    cached_reference_sets,
    has_isolated_solutions,
    merge,
    reference_sets,
    search_simulations,
)
from cvae.inversion.refinement import Refined, jacobian_of, refine, scaled_jacobian

__all__ = [
    "Budget",
    "ReferenceSet",
    "Refined",
    "cached_reference_sets",
    "coverage_limits",
    "gradient_alignment",
    "has_isolated_solutions",
    "jacobian_of",
    "merge",
    "reference_measures",
    "reference_sets",
    "refine",
    "scaled_jacobian",
    "search_simulations",
]
