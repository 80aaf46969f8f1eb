"""Generate solutions: ``python scripts/generate.py checkpoint=best.ckpt condition=y.csv draws=30 out=x.npz``."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

import cvae.config  # noqa: F401 - registers the resolvers that the configs use
from cvae.challenge.cli import clear_errors, plan_from_config, require
from cvae.challenge.solutions import print_solutions, write_solutions, writer
from cvae.conditions import read_conditions
from cvae.generation import generate
from cvae.module import CVAE


@hydra.main(version_base="1.3", config_path="../conf", config_name="generate")
def main(cfg: DictConfig) -> None:
    """Generate for every condition of a file, write and print."""
    with clear_errors():
        require(cfg, "checkpoint", "condition", "out")
        writer(str(cfg.out))  # a wrong suffix is told before the work
        model = CVAE.load(str(cfg.checkpoint), cfg.allow)
        problem = model.problem
        y = read_conditions(str(cfg.condition), problem.forward.conditions, problem.geometry.points)
        solutions = generate(model, problem, y, plan_from_config(cfg.generation))
        write_solutions(str(cfg.out), solutions.x, y, solutions.check)
        print_solutions(solutions.check, str(cfg.out))


if __name__ == "__main__":
    main()
