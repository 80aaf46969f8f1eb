"""Ways to find solutions, side by side: ``python scripts/benchmarks/methods.py problem=two_birds``."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

import common
import hydra
from common import Row
from omegaconf import DictConfig

from cvae.baselines import PriorDraws, Rejection
from cvae.config import plain
from cvae.errors import UserError
from cvae.generation import Plan
from cvae.models import Sampler


class NPESettings(TypedDict):
    """Types of the entry ``npe``."""

    simulations: int
    max_epochs: int


def compare_methods(
    problem: str,
    methods: list[str],
    seed: int,
    conditions: int,
    npe: NPESettings,
    candidates: list[int],
    overrides: list[str],
    out: str,
) -> None:
    """Train, generate by every plan, and print one table, then the same as Markdown.

    The arguments are the entries of ``conf/methods.yaml``.

    Raises:
        UserError: for an unknown method, or a config that makes no sense.
    """
    shared = [f"data={problem}", f"seed={seed}", *overrides]
    default = hydra.compose("train", shared)
    task = common.problem_of(default.data)
    # as many evaluations of f as the default spends on its training
    budget = common.training_evaluations(default)

    def train_default() -> tuple[Sampler, float, int]:
        return *common.trained(default, Path(out) / f"{problem}-default-{seed}"), budget

    def train_starter() -> tuple[Sampler, float, int]:
        cfg = hydra.compose("train", [*shared, "experiment=starter"])
        return *common.trained(cfg, Path(out) / f"{problem}-starter-{seed}"), common.training_evaluations(cfg)

    def train_npe() -> tuple[Sampler, float, int]:
        from cvae.baselines.npe import NPE

        started = time.perf_counter()
        return NPE(task, npe["simulations"], seed, npe["max_epochs"]), time.perf_counter() - started, npe["simulations"]

    known: dict[str, Callable[[], tuple[Sampler, float, int]]] = {
        "starter": train_starter,
        "default": train_default,
        "npe": train_npe,
        "rejection": lambda: (Rejection(task, budget, seed), 0.0, budget),
        "multistart": lambda: (PriorDraws(task), 0.0, 0),
    }
    unknown = [name for name in methods if name not in known]
    if unknown:
        raise UserError(f"methods holds {unknown[0]!r}; choose from {', '.join(known)}.")
    if "npe" in methods and find_spec("sbi") is None:
        # before anything is trained
        raise UserError(
            "the NPE baseline needs the package sbi: pip install -c constraints.txt -e '.[bench]', or leave npe out: "
            "methods=[starter,default,rejection,multistart]."
        )
    plans = {"30 plain": Plan(draws=30), "30 of 120, unchecked": Plan(draws=30, oversample=4)}
    plans |= {f"30 of {count}, refined": Plan(draws=30, candidates=count, refine_steps=15) for count in candidates}
    batch = common.unseen(task, conditions, seed)
    references = common.references_of(task, batch, default.data.cache)
    rows: list[Row] = []
    for name in methods:
        model, seconds, before = known[name]()
        costs = {"train_s": seconds, "training_evaluations": before}
        rows += common.assess(name, model, task, batch.y, references, plans, **costs)
        common.show(rows, f"{problem}: {task.forward.name}")
    print(common.markdown(rows))
    print(f"{common.footer(conditions)}, seed {seed}")


@hydra.main(version_base="1.3", config_path="../../conf", config_name="methods")
def main(cfg: DictConfig) -> None:
    """Run with the settings of ``conf/methods.yaml``."""
    with common.command_line():
        common.call(compare_methods, plain(cfg))


if __name__ == "__main__":
    main()
