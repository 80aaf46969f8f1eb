"""What the default recipe learns, trained in full; margins that held on three seeds (docs/results.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from omegaconf import DictConfig

from cvae.benchmark import Row, assess, held_out, trained
from cvae.generation import Plan
from cvae.problems.reference import cached_reference_sets

pytestmark = pytest.mark.slow

Shipped = Callable[..., DictConfig]


def results(cfg: DictConfig, tmp_path: Path, plans: Mapping[str, Plan], conditions: int = 30) -> dict[str, Row]:
    model, _ = trained(cfg, tmp_path / "run")
    batch = held_out(model.problem, conditions, seed=0)
    known = model.problem.geometry.to_endpoints(batch.x)
    references = cached_reference_sets(model.problem, batch.y, tmp_path / "cache", known=known)
    return {row.stage: row for row in assess("default", model, model.problem, batch.y, references, plans)}


def test_product_is_covered(shipped: Shipped, tmp_path: Path) -> None:
    plans = {"plain": Plan(count=30), "chosen": Plan(count=30, pool=2000, refine_steps=15)}
    found = results(shipped(small=["~callbacks.progress"]), tmp_path, plans)
    assert found["plain"].valid >= 0.99
    assert found["plain"].coverage_ratio >= 0.74
    assert found["chosen"].valid == 1
    assert found["chosen"].coverage_ratio >= 0.985


def test_separate_solutions_are_all_found(shipped: Shipped, tmp_path: Path) -> None:
    plans = {"chosen": Plan(count=30, pool=300, refine_steps=15)}
    found = results(shipped("data=two_birds", small=["~callbacks.progress"]), tmp_path, plans)
    assert found["chosen"].mode_recall >= 0.98


def test_the_default_beats_the_starter(shipped: Shipped, tmp_path: Path) -> None:
    plans = {"plain": Plan(count=30)}
    default = results(shipped(small=["~callbacks.progress"]), tmp_path / "default", plans)
    starter = results(shipped("experiment=starter", small=["~callbacks.progress"]), tmp_path / "starter", plans)
    assert default["plain"].coverage >= 5 * starter["plain"].coverage > 0
