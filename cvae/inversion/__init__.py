"""Solutions without a network: refinement of parameters, reference sets, exact enumeration."""

from cvae.inversion.alignment import gradient_alignment
from cvae.inversion.measures import coverage_limits, reference_measures
from cvae.inversion.reference import (
    SEPARATION,
    Budget,
    ReferenceSet,
    cached_reference_sets,
    clusters,
    has_isolated_solutions,
    is_exact,
    merge,
    polished,
    reference_sets,
    search_simulations,
)
from cvae.inversion.refinement import Refined, disturbed, jacobian_of, refine, scaled_jacobian

__all__ = [
    "SEPARATION",
    "Budget",
    "ReferenceSet",
    "Refined",
    "cached_reference_sets",
    "clusters",
    "coverage_limits",
    "disturbed",
    "gradient_alignment",
    "has_isolated_solutions",
    "is_exact",
    "jacobian_of",
    "merge",
    "polished",
    "reference_measures",
    "reference_sets",
    "refine",
    "scaled_jacobian",
    "search_simulations",
]
