"""Distances between sets of light curves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cvae.metrics import CurveRatios, Drawn, curve_ratios, peaks
from cvae.metrics.curves import RATIOS


def bumps(count: int, generator: torch.Generator, height: float = 1.0) -> Tensor:
    """Curves with one Gaussian peak at a random place, ``(count, 64)``."""
    time = torch.linspace(0, 1, 64)
    centre = 0.3 + 0.4 * torch.rand(count, 1, generator=generator)
    size = height * (0.5 + torch.rand(count, 1, generator=generator))
    return size * torch.exp(-((time - centre) ** 2) / (2 * 0.05**2))


def test_peaks_of_a_known_curve() -> None:
    time = torch.linspace(0, 1, 1001)
    two = 0.2 + torch.exp(-((time - 0.3) ** 2) / (2 * 0.02**2)) + 0.5 * torch.exp(-((time - 0.7) ** 2) / (2 * 0.05**2))
    height, width, crossings = peaks(two.unsqueeze(0))[0].tolist()
    assert height == pytest.approx(1.2, abs=1e-3)
    assert width == pytest.approx(2.355 * 0.02, rel=0.02)  # full width at half maximum of a Gaussian
    assert crossings == 2


def test_a_flat_curve_and_a_ripple_have_no_peak() -> None:
    ripple = 0.04 * torch.sin(torch.linspace(0, 30, 200))
    assert peaks(torch.stack([torch.zeros(200), ripple]))[:, 1:].tolist() == [[0, 0], [0, 0]]


def test_curves_of_the_same_kind_have_a_ratio_of_about_one(generator: torch.Generator) -> None:
    x, y, first = bumps(800, generator), torch.rand(800, 1, generator=generator), torch.arange(800) % 2 == 0
    draws = torch.stack([bumps(800, generator) for _ in range(4)], dim=1)
    found = curve_ratios(draws, x, y, first)
    assert found["peak_height"] == pytest.approx(1, abs=0.35)
    assert found["curves"] == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("wrong", ["peak_height", "peak_width", "crossings", "curves"])
def test_each_ratio_tells_what_it_is_for(wrong: str, generator: torch.Generator) -> None:
    x, y, first = bumps(400, generator), torch.rand(400, 1, generator=generator), torch.arange(400) % 2 == 0
    # now and then a curve without a peak, so that the halves differ in crossings as well
    x[::7] = 0
    x[::14] = 0
    twice = bumps(400, generator) + bumps(400, generator).roll(25, dims=1)
    wide = torch.nn.functional.avg_pool1d(bumps(400, generator).unsqueeze(1), 15, 1, 7)[:, 0]
    high = bumps(400, generator, height=2.0)
    shifted = bumps(400, generator).roll(20, dims=1)
    draws = {"peak_height": high, "peak_width": wide, "crossings": twice, "curves": shifted}[wrong]
    assert curve_ratios(draws.unsqueeze(1), x, y, first)[wrong] > 2


def test_halves_that_miss_a_group_give_no_number(generator: torch.Generator) -> None:
    x, y = bumps(20, generator), torch.arange(20.0).unsqueeze(1)
    found = curve_ratios(x.unsqueeze(1), x, y, y[:, 0] < 10)
    assert all(value != value for value in found.values())


def test_the_metric_adds_up_batches_in_any_order(generator: torch.Generator) -> None:
    x, y, first = bumps(80, generator), torch.rand(80, 1, generator=generator), torch.arange(80) % 2 == 0
    draws = bumps(160, generator).view(80, 2, 64)
    metric = CurveRatios(x, y, first)
    for which in (torch.arange(40, 80), torch.arange(40)):
        metric.update(Drawn(which, draws[which], y[which]))
    once = curve_ratios(draws, x, y, first)
    found = metric.compute()
    assert set(found) == {f"{name}_ratio" for name in RATIOS}
    for name in RATIOS:
        torch.testing.assert_close(float(found[f"{name}_ratio"]), once[name], rtol=1e-5, atol=0, equal_nan=True)
