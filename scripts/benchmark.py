"""Ways to find solutions, side by side: ``python scripts/benchmark.py problem=two_birds``."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

import cvae.config  # noqa: F401 - registers the resolvers that the configs use


@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark")
def main(cfg: DictConfig) -> None:
    """Train, generate by every plan, and print one table, then the same as Markdown."""
    import logging
    import time
    from pathlib import Path

    from cvae.baselines import PriorDraws, Rejection
    from cvae.benchmark import Row, assess, footer, held_out, markdown, print_table, trained, training_evaluations
    from cvae.challenge.cli import clear_errors, problem_from_config
    from cvae.config import plain
    from cvae.generation import Model, Plan
    from cvae.problems.reference import cached_reference_sets

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    known = ("starter", "default", "npe", "rejection", "multistart")
    with clear_errors():
        unknown = [name for name in cfg.methods if name not in known]
        if unknown:
            raise ValueError(f"methods holds {unknown[0]!r}; choose from {', '.join(known)}.")
        common = [f"data={cfg.problem}", f"seed={cfg.seed}", *cfg.overrides]
        default = hydra.compose("train", common)
        problem = problem_from_config(default.data)
        batch = held_out(problem, cfg.conditions, cfg.seed)
        endpoints = problem.geometry.to_endpoints(batch.x)
        references = cached_reference_sets(problem, batch.y, default.data.cache, known=endpoints)
        plans = {"30 plain": Plan(count=30)}
        plans |= {f"30 of {pool}, refined": Plan(count=30, pool=pool, refine_steps=15) for pool in cfg.pools}
        out = Path(cfg.out)
        # rejection may spend what the default spends on f in training
        budget = training_evaluations(default)

        def build(method: str) -> tuple[Model, float, int]:
            """The method, and what it took beforehand: seconds, and evaluations of f."""
            if method == "default":
                return *trained(default, out / f"{cfg.problem}-default-{cfg.seed}"), budget
            if method == "starter":
                starter = hydra.compose("train", [*common, "experiment=starter"])
                return *trained(starter, out / f"{cfg.problem}-starter-{cfg.seed}"), training_evaluations(starter)
            if method == "npe":
                from cvae.baselines.npe import NPE

                started = time.perf_counter()
                npe = NPE(problem, cfg.simulations, cfg.seed, cfg.npe_epochs)
                return npe, time.perf_counter() - started, cfg.simulations
            if method == "rejection":
                return Rejection(problem, budget, cfg.seed), 0.0, budget
            return PriorDraws(problem), 0.0, 0

        rows: list[Row] = []
        for method in plain(cfg.methods):
            model, seconds, before = build(method)
            rows += assess(method, model, problem, batch.y, references, plans, seconds, before)
            print_table(rows, f"{cfg.problem}: {problem.forward.name}")
        print(markdown(rows))
        print(f"{footer(cfg.conditions)}, seed {cfg.seed}")


if __name__ == "__main__":
    main()
