"""Write a submission bundle: ``python scripts/submit.py checkpoint=best.ckpt conditions=y.pt out=submission``.

The bundle is checked before it is put in place; the last line of the output is the JSON object of its score.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

import cvae.config  # noqa: F401 - registers the resolvers that the configs use
from cvae.challenge.cli import clear_errors, plan_from_config, require
from cvae.challenge.score import print_scores
from cvae.challenge.submit import write_bundle
from cvae.conditions import read_conditions
from cvae.module import CVAE


@hydra.main(version_base="1.3", config_path="../conf", config_name="submit")
def main(cfg: DictConfig) -> None:
    """Generate, write, check and print."""
    with clear_errors():
        require(cfg, "checkpoint", "conditions", "out")
        model = CVAE.load(str(cfg.checkpoint), cfg.allow)
        problem = model.problem
        y = read_conditions(str(cfg.conditions), problem.forward.conditions, problem.geometry.points)
        scores = write_bundle(
            model, y, plan_from_config(cfg.generation), str(cfg.out), str(cfg.checkpoint), force=cfg.force
        )
        print(f"bundle: {cfg.out}")
        print_scores(scores)


if __name__ == "__main__":
    main()
