"""Train the rows of a table and print what they reach: ``python scripts/results.py table=problems seeds=[0,1,2]``."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import quote

import hydra
from omegaconf import DictConfig

import cvae.config  # noqa: F401 - registers the resolvers that the configs use


@hydra.main(version_base="1.3", config_path="../conf", config_name="results")
def main(cfg: DictConfig) -> None:
    """Print one line per row, seed and plan, then the same as Markdown."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    from cvae.benchmark import Row, assess, footer, held_out, markdown, print_table, trained
    from cvae.challenge.cli import clear_errors
    from cvae.config import plain
    from cvae.generation import Plan
    from cvae.problems.reference import cached_reference_sets
    from cvae.runs.folder import identify
    from cvae.training import settings_of

    rows: list[Row] = []
    with clear_errors():
        unknown = set(cfg.only or []) - set(cfg.table.rows)
        if unknown:
            raise ValueError(f"only names {sorted(unknown)}, but the table has the rows {list(cfg.table.rows)}.")
        plans = {name: Plan(**values) for name, values in plain(cfg.table.plans).items()}
        for name, overrides in cfg.table.rows.items():
            if cfg.only is not None and name not in cfg.only:
                continue
            for seed in cfg.seeds:
                train_cfg = hydra.compose("train", [*overrides, *cfg.overrides, f"seed={seed}"])
                # x0 + x1 and x0 - x1 need folders of their own, and so do rows of one name in two tables
                label = quote(str(name).replace(" ", "_"), safe="")
                folder = f"{label}-{seed}-{identify(settings_of(train_cfg))[:8]}"
                model, seconds = trained(train_cfg, Path(cfg.out) / folder)
                batch = held_out(model.problem, cfg.conditions, seed)
                known = model.problem.geometry.to_endpoints(batch.x)
                references = cached_reference_sets(model.problem, batch.y, train_cfg.data.cache, known=known)
                rows += assess(f"{name} (seed {seed})", model, model.problem, batch.y, references, plans, seconds)
                print_table(rows, cfg.table.title)
    print(markdown(rows))
    print(footer(cfg.conditions))


if __name__ == "__main__":
    main()
