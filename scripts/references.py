"""Search reference sets and say what they hold and cost: ``python scripts/references.py data=two_birds``."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

import cvae.config  # noqa: F401 - registers the resolvers that the configs use
from cvae.challenge.cli import clear_errors, problem_from_config


@hydra.main(version_base="1.3", config_path="../conf", config_name="references")
def main(cfg: DictConfig) -> None:
    """Print one row for each size."""
    from cvae.benchmark import footer, held_out, markdown, print_table
    from cvae.reference_costs import reference_cost

    with clear_errors():
        problem = problem_from_config(cfg.data)
        batch = held_out(problem, cfg.conditions, cfg.seed)
        rows = [reference_cost(problem, batch, cfg.draws, size, cfg.seed) for size in cfg.sizes]
    print_table(rows, f"reference sets of {problem.forward.name}")
    print(markdown(rows))
    print(f"{footer(cfg.conditions)}, seed {cfg.seed}")


if __name__ == "__main__":
    main()
