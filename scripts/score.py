"""Score a file of solutions: ``python scripts/score.py file=result.pt data=two_birds``.

The last line of the output is a JSON object.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

import cvae.config  # noqa: F401 - registers the resolvers that the configs use
from cvae.challenge.cli import clear_errors, problem_from_config, require
from cvae.challenge.score import print_scores, score_file


@hydra.main(version_base="1.3", config_path="../conf", config_name="score")
def main(cfg: DictConfig) -> None:
    """Measure one file and print the result."""
    with clear_errors():
        require(cfg, "file")
        print_scores(score_file(str(cfg.file), problem_from_config(cfg.data), cfg.draws))


if __name__ == "__main__":
    main()
