"""Sums on devices of every kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from cvae.metrics import ActiveUnits, CurveRatios, Drawn, SampleDistances
from cvae.metrics import base as module
from cvae.metrics.points import PointDistances


def test_sums_are_in_double_precision_where_there_is_one(problem) -> None:
    metrics = problem().measures().to("meta")
    assert {metric.total.dtype for metric in metrics.values()} == {torch.float64}


def test_a_device_without_double_precision_gets_single(problem, monkeypatch: pytest.MonkeyPatch) -> None:
    # "meta" stands for such a device, as none is at hand
    monkeypatch.setattr(module, "SINGLE_ONLY", {"meta"})
    metrics, active = problem().measures().to("meta"), ActiveUnits(3).to("meta")
    assert {metric.total.dtype for metric in metrics.values()} == {torch.float32}
    assert active.total.dtype == active.squares.dtype == torch.float32
    active.reset()
    assert active.total.dtype == torch.float32


def test_single_sums_measure_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    means = torch.randn(50, 3) * torch.tensor([1.0, 0.5, 0.001])
    found = []
    for single_only in (set(), {"cpu"}):
        monkeypatch.setattr(module, "SINGLE_ONLY", single_only)
        metric = ActiveUnits(3).to("cpu")
        metric.update(means)
        found.append(metric.compute())
    assert found[0] == found[1] == 2


X, HALF = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2 == 0


@pytest.mark.parametrize(
    "make", [lambda: PointDistances(X), lambda: SampleDistances(X), lambda: CurveRatios(X, X[:, :1], HALF)]
)
def test_a_process_without_draws_changes_nothing(make: Callable[[], Metric], generator: torch.Generator) -> None:
    alone, one, empty = make(), make(), make()
    for which in torch.arange(40).split(25):
        drawn = Drawn(which, torch.randn(len(which), 3, 6, generator=generator), torch.empty(len(which), 0))
        for metric in (alone, one):
            metric.update(drawn)
    nothing: list[Tensor] = []
    empty.sync(lambda state, group: [nothing.append(state) or state], distributed_available=lambda: True)
    received = iter(nothing)

    def gather(state: Tensor, group: object) -> list[Tensor]:
        other = next(received)
        # as the processes of a gather must
        assert (state.ndim, state.dtype) == (other.ndim, other.dtype)
        return [other, state]

    one.dist_sync_fn, one.distributed_available_fn = gather, lambda: True
    assert one.compute() == alone.compute()
    assert next(received, None) is None
