"""Generate solutions: ``python scripts/generate.py checkpoint=best.ckpt condition=y.csv draws=30 out=x.npz``."""

from __future__ import annotations

from typing import TypedDict

import hydra
import torch
from omegaconf import DictConfig

from cvae.data import simulate
from cvae.data.files import read_conditions, write_solutions, writer
from cvae.errors import UserError, clear_errors
from cvae.generation import generate
from cvae.metrics import Drawn
from cvae.models import CVAE
from cvae.runs.options import check_command
from cvae.runs.settle import plan_of
from cvae.seeds import Purpose, stream
from cvae.show.figures import check_picture, write_figure
from cvae.show.tables import print_solutions, print_stages

# conditions that are drawn
PICTURED = 4


class Options(TypedDict):
    """Types of the options that are no paths."""

    unseen: int
    draws: int
    seed: int
    allow: list[str]


@hydra.main(version_base="1.3", config_path="../conf", config_name="generate")
def main(cfg: DictConfig) -> None:
    """Generate for every condition of a file, write and print."""
    with clear_errors():
        check_command(cfg, Options)
        if (cfg.condition is None) == (cfg.unseen < 1):
            raise UserError("name the observed conditions, condition=FILE, or ask for simulated ones, unseen=4.")
        # wrong suffixes are told before the work
        writer(str(cfg.out))
        picture = None if cfg.picture is None else check_picture(str(cfg.picture))
        plan = plan_of(cfg.generation)
        model = CVAE.load(str(cfg.checkpoint), cfg.allow)
        problem = model.problem
        if cfg.condition is None:
            y = simulate(problem, cfg.unseen, stream(Purpose.UNSEEN, cfg.seed)).y
        else:
            y = read_conditions(str(cfg.condition), problem)
        solutions = generate(model, problem, y, plan)
        write_solutions(str(cfg.out), problem, solutions.x, y, solutions.check)
        print_stages(solutions)
        print_solutions(solutions.check)
        print(f"solutions: {cfg.out}")
        if picture is not None:
            few = slice(0, PICTURED)
            shown = Drawn(torch.arange(len(y[few])), solutions.x[few], y[few], solutions.check.at(few))
            print(f"picture: {', '.join(map(str, write_figure(picture, problem.figures(shown))))}")


if __name__ == "__main__":
    main()
