"""Hold runs against each other: ``python scripts/compare.py dir=outputs/multirun/... metrics=[val/score,test/rmse]``.

Prints a sorted table, and writes it as a CSV file and a figure.
"""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from cvae.errors import clear_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="compare")
def main(cfg: DictConfig) -> None:
    """Print one table and write two files."""
    from cvae.comparison import print_table, read_runs, tabulate, write_csv
    from cvae.config import plain

    with clear_errors():
        if OmegaConf.is_missing(cfg, "dir"):
            raise ValueError("dir is missing; add dir=... to the command line, a folder of runs.")
        if isinstance(cfg.metrics, str):
            raise ValueError(f"metrics is {cfg.metrics!r}; it must be a list, metrics=[{cfg.metrics}].")
        found = read_runs(Path(cfg.dir))
        if not found:
            raise ValueError(f"{cfg.dir}: holds no runs (folders with a result.json).")
        comparison = tabulate(found, plain(cfg.metrics), cfg.sort)
        print_table(comparison, str(cfg.dir))
        if cfg.out is not None:
            write_csv(comparison, Path(cfg.out))
            print(f"table:  {cfg.out}")
        if cfg.figure is not None and comparison.measures:
            from cvae.comparison.figure import save

            save(comparison, Path(cfg.figure), str(cfg.dir))
            print(f"figure: {cfg.figure}")


if __name__ == "__main__":
    main()
