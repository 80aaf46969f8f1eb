from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cvae.data import Batch, SwissRollData
from cvae.errors import UserError
from cvae.models import Chains

SMALL: dict[str, Any] = {"batch_size": 32, "train": 60, "validation": 20, "test": 4_000, "seed": 3}


class Roll:
    """A model that draws from the roll itself."""

    device, network = torch.device("cpu"), None

    def __init__(self, data: SwissRollData) -> None:
        self.roll = data.roll

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        return self.roll.sample(draws, generator).unsqueeze(0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {}

    def log_likelihood(self, batch: Batch, samples: int = 100) -> Tensor:
        return torch.full((len(batch.x),), -2.5)


class Walk(Roll):
    """The same in steps: right at 0.01, blurred at 0.1, and of chains that diverge at 0.001."""

    def walk(self, draws: int, generator: torch.Generator, step_size: float | None = None, kept: int = 0) -> Chains:
        x = self.roll.sample(draws, generator)
        if step_size == 0.1:
            x += torch.randn(x.shape, generator=generator)
        diverged = torch.arange(draws) < (draws if step_size == 0.001 else 0)
        return Chains(x.masked_fill(diverged.unsqueeze(1), torch.nan), x.expand(kept + 1, -1, -1), diverged)

    def log_prob(self, x: Tensor) -> Tensor:
        return -x.square().sum(-1)

    def curvature(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), 2.0)


def test_splits_have_their_sizes_and_no_condition() -> None:
    data = SwissRollData(**SMALL)
    assert [len(part.x) for part in data.splits] == [60, 20, 4_000]
    assert data.splits.train.y.shape == (60, 0)


def test_splits_follow_the_seed_and_share_no_point() -> None:
    first, same, other = (SwissRollData(**SMALL | {"seed": seed}).splits for seed in (3, 3, 4))
    assert torch.equal(first.train.x, same.train.x)
    assert not torch.equal(first.train.x, other.train.x)
    assert not torch.isin(first.test.x, first.train.x).any()


def test_the_task_is_made_without_the_points() -> None:
    config = SMALL | {"_target_": "cvae.data.SwissRollData", "noise": 0.5}
    assert SwissRollData.make_task(config) == SwissRollData(**SMALL, noise=0.5).task


def test_measures_of_the_truth_are_those_of_real_points() -> None:
    data = SwissRollData(**SMALL)
    measures = data.measures("test", 1_000)
    x = data.roll.sample(1_000, torch.Generator().manual_seed(9)).unsqueeze(0)
    measures.update(data.task.drawn(torch.arange(1), x, torch.empty(1, 0)))
    found = measures.compute()
    assert set(found) == set(SwissRollData.measured)
    assert 0.7 < float(found["mmd_ratio"]) < 1.4
    assert 0.7 < float(found["sliced_wasserstein_ratio"]) < 1.4
    assert float(found["diverged"]) == 0


def test_a_report_tells_the_step_sizes_apart_and_leaves_out_diverged_chains() -> None:
    data = SwissRollData(**SMALL)
    report = data.report(Walk(data))
    found = report.measures
    assert (found["log_likelihood"], found["curvature"]) == (-2.5, 2.0)
    assert found["eps_0.01/mmd_ratio"] < 1.4 < 2 < found["eps_0.1/mmd_ratio"]
    assert found["eps_0.01/sliced_wasserstein_ratio"] < 1.4 < 2 < found["eps_0.1/sliced_wasserstein_ratio"]
    assert (found["eps_0.01/diverged"], found["eps_0.001/diverged"]) == (0, 1_000)
    assert found["eps_0.001/mmd"] != found["eps_0.001/mmd"], "no chain is left to measure"
    titles = [axis.get_title() for axis in report.figures["langevin"].axes]
    assert [title.partition("\n")[0] for title in titles] == [
        "test points", "step size 0.1", "step size 0.01", "step size 0.001, 1000 diverged"
    ]  # fmt: skip


def test_a_model_without_steps_has_its_likelihood_reported() -> None:
    data = SwissRollData(**SMALL)
    report = data.report(Roll(data))
    assert set(report.measures) == {"log_likelihood", "true_log_likelihood", "log_likelihood_gap"}
    assert report.measures["log_likelihood_gap"] == report.measures["true_log_likelihood"] + 2.5
    assert not report.figures


def test_bounds() -> None:
    with pytest.raises(UserError, match=r"data\.test is 3; it must be at least 4"):
        SwissRollData(**SMALL | {"test": 3})
