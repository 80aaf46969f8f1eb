"""Comparison of runs: ``cvae compare dir=outputs/multirun/... metrics=[val/score,test/rmse]``.

Prints a table for each problem, averaged over seeds, and writes a CSV file of all runs and a figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from omegaconf import DictConfig, OmegaConf

from cvae.config import plain
from cvae.errors import UserError, clear_errors
from cvae.files import check_output
from cvae.runs.compare import print_tables, read_runs, summarize, write_csv
from cvae.runs.options import check_entries


class Options(TypedDict):
    """Types of the options."""

    dir: str
    metrics: list[str] | None
    sort: str | None
    out: str | None
    figure: str | None


def run(cfg: DictConfig) -> None:
    """Print the tables and write two files."""
    with clear_errors():
        if OmegaConf.is_missing(cfg, "dir"):
            raise UserError("dir is missing; add dir=... to the command line, a folder of runs.")
        if isinstance(cfg.metrics, str):
            raise UserError(f"metrics is {cfg.metrics!r}; it must be a list, metrics=[{cfg.metrics}].")
        check_entries({name: plain(cfg[name]) for name in Options.__annotations__}, Options, "")
        if not cfg.dir:
            raise UserError("dir is empty; name a folder of runs, dir=outputs/multirun/first.")
        runs = read_runs(Path(cfg.dir))
        if runs.about.empty:
            raise UserError(f"{cfg.dir}: holds no runs (folders with a result.json).")
        # what cannot be written is told before the work
        if cfg.out is not None:
            check_output("out", cfg.out)
        if cfg.figure is not None:
            from cvae.runs.compare_figure import check_figure, save

            check_figure(Path(cfg.figure))
        summaries = summarize(runs, plain(cfg.metrics), cfg.sort)
        print_tables(runs, summaries, str(cfg.dir))
        if cfg.out is not None:
            write_csv(runs, Path(cfg.out))
            print(f"table:  {cfg.out}")
        if cfg.figure is not None and any(summary.mean.size for summary in summaries):
            save(summaries, Path(cfg.figure), str(cfg.dir))
            print(f"figure: {cfg.figure}")
