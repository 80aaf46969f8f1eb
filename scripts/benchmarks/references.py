"""What reference sets hold and cost: ``python scripts/benchmarks/references.py data=product sizes=[2000,4000]``."""

from __future__ import annotations

import statistics
import time

import hydra
import torch
from common import Row, command_line, footer, markdown, mean_limit, problem_of, show, unseen
from omegaconf import DictConfig

from cvae.config import plain
from cvae.data import Batch
from cvae.errors import UserError
from cvae.inversion import Budget, reference_measures, reference_sets
from cvae.runs.options import check_entries
from cvae.tasks import Problem

#: updates of the measures, of whose times the median is shown
REPEATS = 20


def reference_costs(problem: Problem, conditions: int, draws: int, sizes: list[int], seed: int) -> list[Row]:
    """Search reference sets and compare draws with them.

    Args:
        problem: what is to be inverted.
        conditions: how many unseen conditions.
        draws: for each condition; copies of its known solution, since their values do not matter.
        sizes: most solutions kept for one condition of a continuum, a row for each.
        seed: of conditions and search.

    Returns:
        Rows with the kind of the solutions, how many were found (fewest, median, most), the mean coverage limit of a
        continuum, and what they cost: seconds of the search, once for a problem; seconds until the measures are
        prepared, once for a run; milliseconds of the measures, in each epoch.

    Raises:
        UserError: for a size or a number of draws below 1.
    """
    if min(draws, *sizes) < 1:
        raise UserError(f"sizes is {sizes} and draws is {draws}; they must be at least 1.")
    batch = unseen(problem, conditions, seed)
    return [_costs(problem, batch, draws, size, seed) for size in sizes]


def _costs(problem: Problem, batch: Batch, draws: int, kept: int, seed: int) -> Row:
    known = problem.space.encode(batch.x)
    started = time.perf_counter()
    references = reference_sets(problem, batch.y, seed, Budget(kept=kept), known)
    searched = time.perf_counter()
    measures = reference_measures(problem, references, draws)
    prepared = time.perf_counter()
    x = batch.x.unsqueeze(1).expand(-1, draws, *problem.x_shape)
    drawn = problem.drawn(torch.arange(len(x)), x, batch.y)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        measures.update(drawn)
        measures.compute()
        measures.reset()
        times.append(time.perf_counter() - began)
    counts = sorted(len(reference.theta) for reference in references)
    separate = all(reference.finite for reference in references)
    return {
        "kind": "separate" if separate else "continuum",
        "kept": None if separate else kept,
        "solutions": f"{counts[0]} / {counts[len(counts) // 2]} / {counts[-1]}",
        "coverage_limit": None if separate else mean_limit(measures),
        "search_s": searched - started,
        "prepare_s": prepared - searched,
        "measure_ms": 1e3 * statistics.median(times),
    }


@hydra.main(version_base="1.3", config_path="../../conf", config_name="references")
def main(cfg: DictConfig) -> None:
    """Print one row for each size, by the settings of ``conf/references.yaml``."""
    with command_line():
        settings = plain(cfg)
        problem = problem_of(settings.pop("data"))
        check_entries(settings, reference_costs, "", partial=True)
        rows = reference_costs(problem, **settings)
        show(rows, f"reference sets of {problem.forward.name}")
        print(markdown(rows))
        print(f"{footer(cfg.conditions)}, seed {cfg.seed}")


if __name__ == "__main__":
    main()
