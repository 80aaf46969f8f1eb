"""Generate solutions: ``python scripts/generate.py checkpoint=best.ckpt condition=y.csv draws=30 out=x.npz``."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

import cvae.config  # noqa: F401 - registers the resolvers that the configs use
from cvae.challenge.cli import clear_errors, plan_from_config, require
from cvae.challenge.solutions import print_solutions, print_stages, write_picture, write_solutions, writer
from cvae.conditions import read_conditions
from cvae.data import simulate
from cvae.generation import generate
from cvae.module import CVAE
from cvae.seeds import stream


@hydra.main(version_base="1.3", config_path="../conf", config_name="generate")
def main(cfg: DictConfig) -> None:
    """Generate for every condition of a file, write and print."""
    with clear_errors():
        require(cfg, "checkpoint", "out")
        if (cfg.condition is None) == (cfg.unseen == 0):
            raise ValueError("name the observed curves, condition=FILE, or ask for simulated ones, unseen=4.")
        writer(str(cfg.out))  # a wrong suffix is told before the work
        model = CVAE.load(str(cfg.checkpoint), cfg.allow)
        problem = model.problem
        if cfg.condition is None:
            y = simulate(problem, cfg.unseen, stream(cfg.seed, 99)).y
        else:
            y = read_conditions(str(cfg.condition), problem.forward.conditions, problem.geometry.points)
        solutions = generate(model, problem, y, plan_from_config(cfg.generation))
        write_solutions(str(cfg.out), solutions.x, y, solutions.check)
        print_stages(solutions)
        print_solutions(solutions.check, str(cfg.out))
        if cfg.picture is not None:
            write_picture(str(cfg.picture), problem, solutions, y)


if __name__ == "__main__":
    main()
