"""What reference sets hold, how the limit of the coverage depends on their size, and what they cost."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from cvae.data import Batch
from cvae.evaluation import Drawn
from cvae.metrics import AgainstReferences
from cvae.problems import Problem
from cvae.problems.reference import reference_sets

#: updates of the measure that its time is the median of
REPEATS = 20


@dataclass(frozen=True)
class ReferenceCost:
    """Reference sets of one size.

    Attributes:
        kind: ``continuum`` or ``separate``.
        kept: most solutions kept for one condition of a continuum.
        solutions: found for one condition: fewest, median, most.
        coverage_limit: mean over the conditions; None where solutions are separate.
        search_s: seconds of the search for all conditions, once for a problem.
        limit_s: seconds until the limits are known, once for a run.
        measure_ms: milliseconds of the measure for all conditions, once for an epoch.
    """

    kind: str
    kept: int | None
    solutions: str
    coverage_limit: float | None
    search_s: float
    limit_s: float
    measure_ms: float


def reference_cost(problem: Problem, batch: Batch, draws: int, kept: int, seed: int = 0) -> ReferenceCost:
    """Search reference sets, and measure draws against them.

    Args:
        problem: what is to be inverted.
        batch: conditions, with the solution that each was made of.
        draws: for each condition; here copies of the one known solution.
        kept: see :func:`cvae.problems.reference.reference_sets`.
        seed: of the search.

    Raises:
        ValueError: for a ``kept`` or ``draws`` below 1.
    """
    if kept < 1 or draws < 1:
        raise ValueError(f"sizes and draws are {kept} and {draws}; they must be at least 1.")
    geometry = problem.geometry
    started = time.perf_counter()
    references = reference_sets(problem, batch.y, seed, kept=kept, known=geometry.to_endpoints(batch.x))
    searched = time.perf_counter()
    against = AgainstReferences(problem, references, draws)
    known = time.perf_counter()
    x = batch.x.unsqueeze(1).expand(-1, draws, -1, -1)
    drawn = Drawn(torch.arange(len(x)), x, problem.check(x, batch.y))
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        against.update(drawn)
        against.compute(None)
        against.reset()
        times.append(time.perf_counter() - began)
    counts = sorted(len(reference.endpoints) for reference in references)
    separate = all(reference.finite for reference in references)
    return ReferenceCost(
        kind="separate" if separate else "continuum",
        kept=None if separate else kept,
        solutions=f"{counts[0]} / {counts[len(counts) // 2]} / {counts[-1]}",
        coverage_limit=None if separate else float(against.limit.mean()),
        search_s=searched - started,
        limit_s=known - searched,
        measure_ms=1e3 * statistics.median(times),
    )
