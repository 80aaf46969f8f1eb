"""Train the experiment mixture on many seeds, each with a mixture of its own, and print what it finds.

``python scripts/benchmarks/mixtures.py separations=[4,3,2]``
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import hydra
from common import Row, call, command_line, markdown, show
from omegaconf import DictConfig

from cvae.config import plain
from cvae.runs.folder import RESULT, identify
from cvae.runs.launch import run
from cvae.runs.train import settings_of

#: counts that should be the number of components, and errors
COUNTS = tuple(f"{kind}_{cloud}" for kind in ("clusters", "modes") for cloud in ("data", "samples", "latent"))
ERRORS = ("weight_error", "cluster_weight_error", "outside", "log_likelihood_gap")


def mixtures(separations: list[float], seeds: list[int], overrides: list[str], out: str) -> None:
    """Print one line for each separation and seed, how many counts are right and the largest errors, then the same as
    Markdown.

    The arguments are the entries of ``conf/mixtures.yaml``.

    Raises:
        UserError: for a config that makes no sense.
    """
    rows: list[Row] = []
    for separation in separations:
        own = [trained(separation, seed, overrides, Path(out)) for seed in seeds]
        rows += [*own, summary(own)]
        show(rows, " ".join(["mixture", *overrides]))
    print(markdown(rows))


def trained(separation: float, seed: int, overrides: list[str], out: Path) -> Row:
    """The row of a run, which is trained unless the folder holds it."""
    words = ["experiment=mixture", f"data.separation={separation}", *overrides, f"seed={seed}"]
    cfg = hydra.compose("train", words)
    folder = out / f"{separation:g}-{seed}-{identify(settings_of(cfg))[:8]}"
    run(cfg, folder, words, replace=True)
    result = json.loads((folder / RESULT).read_text())
    found = {name.removeprefix("test/"): value for name, value in result["measures"].items()}
    counts = {name: int(found[name]) for name in ("components", *COUNTS)}
    errors = {name: found[name] for name in ERRORS}
    return {"separation": f"{separation:g}", "seed": str(seed), **counts, **errors, "train_s": result["fit_s"]}


def summary(rows: Sequence[Row]) -> Row:
    """How often each count is the number of components, and the largest of each error."""
    right = {name: f"{sum(row[name] == row['components'] for row in rows)} of {len(rows)}" for name in COUNTS}
    largest = {name: max(row[name] for row in rows) for name in (*ERRORS, "train_s")}
    return {"separation": rows[0]["separation"], "seed": "right, largest", "components": None, **right, **largest}


@hydra.main(version_base="1.3", config_path="../../conf", config_name="mixtures")
def main(cfg: DictConfig) -> None:
    """Run with the settings of ``conf/mixtures.yaml``."""
    with command_line():
        call(mixtures, plain(cfg))


if __name__ == "__main__":
    main()
