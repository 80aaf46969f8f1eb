"""Comparison of runs: ``cvae compare dir=outputs/multirun/... metrics=[val/score,test/rmse]``.

Prints a table for each problem, averaged over seeds, and writes a CSV file of all runs and a figure.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cvae.config import plain
from cvae.errors import UserError, clear_errors
from cvae.runs.compare import print_tables, read_runs, summarize, write_csv


def run(cfg: DictConfig) -> None:
    """Print the tables and write two files."""
    with clear_errors():
        if OmegaConf.is_missing(cfg, "dir"):
            raise UserError("dir is missing; add dir=... to the command line, a folder of runs.")
        if isinstance(cfg.metrics, str):
            raise UserError(f"metrics is {cfg.metrics!r}; it must be a list, metrics=[{cfg.metrics}].")
        runs = read_runs(Path(cfg.dir))
        if runs.about.empty:
            raise UserError(f"{cfg.dir}: holds no runs (folders with a result.json).")
        summaries = summarize(runs, plain(cfg.metrics), cfg.sort)
        print_tables(runs, summaries, str(cfg.dir))
        if cfg.out is not None:
            write_csv(runs, Path(cfg.out))
            print(f"table:  {cfg.out}")
        if cfg.figure is not None and any(summary.mean.size for summary in summaries):
            from cvae.runs.compare_figure import save

            save(summaries, Path(cfg.figure), str(cfg.dir))
            print(f"figure: {cfg.figure}")
