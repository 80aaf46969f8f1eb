import math

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from cvae.schedules import constant, cosine, linear_warmup, one_cycle


@pytest.mark.parametrize(
    ("step", "steps", "factor"),
    [(0, 10, 0.0), (1, 10, 0.1), (5, 10, 0.5), (10, 10, 1.0), (11, 10, 1.0), (0, 0, 1.0), (5, 0, 1.0), (0, 1, 0.0)],
)
def test_linear_warmup(step, steps, factor):
    assert linear_warmup(step, steps) == pytest.approx(factor)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_constant(progress):
    assert constant(progress) == 1


@pytest.mark.parametrize(
    ("progress", "warmup", "floor", "factor"),
    [
        (0.0, 0.0, 0.0, 1.0),
        (0.5, 0.0, 0.0, 0.5),
        (1 / 3, 0.0, 0.0, 0.75),
        (1.0, 0.0, 0.0, 0.0),
        (1.5, 0.0, 0.0, 0.0),
        (0.5, 0.0, 0.2, 0.6),
        (1.0, 0.0, 0.2, 0.2),
        (0.1, 0.2, 0.0, 0.5),
        (0.2, 0.2, 0.0, 1.0),
        (0.6, 0.2, 0.0, 0.5),
        (1.0, 0.2, 0.0, 0.0),
        (0.5, 1.0, 0.0, 0.5),
        (1.0, 1.0, 0.0, 1.0),
    ],
)
def test_cosine(progress, warmup, floor, factor):
    assert cosine(progress, warmup, floor) == pytest.approx(factor, abs=1e-12)


def test_the_first_step_of_a_warmup_is_small_and_not_zero():
    assert 0 < cosine(0.0, warmup=0.1) <= 0.01


@pytest.mark.parametrize(
    ("progress", "factor"),
    [(0.0, 0.04), (0.15, 0.52), (0.3, 1.0), (0.65, 0.50005), (1.0, 1e-4), (1.5, 1e-4)],
)
def test_one_cycle(progress, factor):
    assert one_cycle(progress) == pytest.approx(factor)


@pytest.mark.parametrize(("progress", "peak", "factor"), [(0.0, 0.0, 1.0), (1.0, 1.0, 1.0), (0.5, 1.0, 0.52)])
def test_one_cycle_may_peak_at_either_end(progress, peak, factor):
    assert one_cycle(progress, peak) == pytest.approx(factor)


def rates(make, steps):
    """Learning rates of a scheduler of torch, starting from 1."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_is_that_of_torch():
    expected = rates(lambda optimizer: CosineAnnealingLR(optimizer, 100, eta_min=0.1), 101)
    assert [cosine(step / 100, floor=0.1) for step in range(101)] == pytest.approx(expected, abs=1e-9)


def test_one_cycle_is_that_of_torch():
    # torch counts from step 0 to step 999, and peaks one step before the share that it is given
    expected = rates(
        lambda optimizer: OneCycleLR(optimizer, 1.0, 1_000, pct_start=0.3, div_factor=25, final_div_factor=400), 999
    )
    found = [one_cycle(step / 999, peak=299 / 999) for step in range(999)]
    assert found == pytest.approx(expected, abs=1e-9)
    assert math.isclose(max(found), 1.0)
