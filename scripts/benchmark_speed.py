"""Ratios to plain loops, measured in turns: ``python scripts/benchmark_speed.py parts=[training,start]``."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

import cvae.config  # noqa: F401 - registers the resolvers that the configs use


@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark_speed")
def main(cfg: DictConfig) -> None:
    """Measure the parts, print one table, the same as Markdown, and write JSON."""
    import logging

    from cvae.challenge.cli import clear_errors
    from cvae.config import plain
    from cvae.speed.run import run

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with clear_errors():
        run(plain(cfg), lambda overrides: hydra.compose("train", overrides))


if __name__ == "__main__":
    main()
