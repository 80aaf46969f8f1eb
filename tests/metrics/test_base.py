"""Sums on devices of every kind."""

from __future__ import annotations

import pytest
import torch

from cvae.metrics import ActiveUnits
from cvae.metrics import base as module


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
