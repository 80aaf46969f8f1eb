"""Train the rows of a table and print what they reach.

``python scripts/benchmarks/results.py table=problems seeds=[0,1,2]``
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

import hydra
from common import Row, assess, call, command_line, footer, markdown, plans_of, references_of, show, trained, unseen
from omegaconf import DictConfig

from cvae.config import plain
from cvae.errors import UserError
from cvae.runs.folder import identify
from cvae.runs.train import settings_of


def results(
    table: dict[str, Any],
    only: list[str] | None,
    plans: list[str] | None,
    seeds: list[int],
    conditions: int,
    overrides: list[str],
    out: str,
) -> None:
    """Print one line for each row, seed and plan, then the same as Markdown, and of several seeds their means.

    The arguments are the entries of ``conf/results.yaml``; a table has a ``title``, ``rows`` (overrides of the training
    by name) and ``plans`` of generation by name.

    Raises:
        UserError: for a row or a plan that the table does not have, or a config that makes no sense.
    """
    rows_here, plans_here = chosen(table, "rows", "only", only), plans_of(chosen(table, "plans", "plans", plans))
    rows: list[Row] = []
    averages: list[Row] = []
    for name in rows_here:
        of_seeds: list[list[Row]] = []
        for seed in seeds:
            cfg = hydra.compose("train", [*rows_here[name], *overrides, f"seed={seed}"])
            # x0 + x1 and x0 - x1 need folders of their own, and so do rows of one name in two tables
            label = quote(name.replace(" ", "_"), safe="")
            model, seconds = trained(cfg, Path(out) / f"{label}-{seed}-{identify(settings_of(cfg))[:8]}")
            batch = unseen(model.problem, conditions, seed)
            references = references_of(model.problem, batch, cfg.data.cache)
            title = f"{name} (seed {seed})"
            of_seeds.append(assess(title, model, model.problem, batch.y, references, plans_here, train_s=seconds))
            rows += of_seeds[-1]
            show(rows, table["title"])
        averages += [mean(f"{name} (mean of {len(seeds)} seeds)", of_plan) for of_plan in zip(*of_seeds, strict=True)]
    print(markdown(rows))
    if len(seeds) > 1:
        print(markdown(averages))
    print(footer(conditions))


def chosen(table: dict[str, Any], part: str, entry: str, names: list[str] | None) -> dict[str, Any]:
    """The named members of a part of a table; all for None.

    Raises:
        UserError: for a name that is not there.
    """
    if names is None:
        return dict(table[part])
    unknown = sorted(set(names) - set(table[part]))
    if unknown or not names:
        raise UserError(f"{entry} names {unknown or 'nothing'}, but the table has the {part} {list(table[part])}.")
    return {name: table[part][name] for name in names}


def mean(name: str, rows: Sequence[Row]) -> Row:
    """The mean of the numbers of rows of one plan; of what one of them lacks, there is none."""
    numbers = [key for key, value in rows[0].items() if isinstance(value, int | float)]
    common = [key for key in numbers if all(row[key] is not None for row in rows)]
    return {"name": name, "plan": rows[0]["plan"]} | {key: fmean(row[key] for row in rows) for key in common}


@hydra.main(version_base="1.3", config_path="../../conf", config_name="results")
def main(cfg: DictConfig) -> None:
    """Run with the settings of ``conf/results.yaml``."""
    with command_line():
        call(results, plain(cfg))


if __name__ == "__main__":
    main()
