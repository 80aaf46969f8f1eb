"""Vectors in a box: priors, bounds, and the way between parameters and solutions."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from scipy import stats

from cvae.errors import UserError
from cvae.tasks import Box

BOUNDS = [[-1.0, 1.0], [0.0, 1000.0], [2.0, 2.5]]


@pytest.fixture
def box() -> Box:
    return Box(BOUNDS)


def test_the_shapes_and_names_of_a_vector(box: Box) -> None:
    assert box.x_shape == (3,)
    assert box.parameters == 3
    assert box.names == ["x0", "x1", "x2"]
    assert box.bounds == box.value_bounds == ((-1.0, 1.0), (0.0, 1000.0), (2.0, 2.5))


@pytest.fixture
def typical() -> torch.Generator:
    """Of 20,000 uniform numbers in three columns, those of seed 0 are among the most uneven."""
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("prior", ["uniform", "normal"])
def test_samples_are_in_bounds(prior: str, generator: torch.Generator) -> None:
    theta = Box(BOUNDS, prior).sample(5_000, generator)
    assert theta.shape == (5_000, 3)
    assert theta.dtype == torch.float32
    for column, (low, high) in zip(theta.T, BOUNDS, strict=True):
        assert low <= column.min() <= column.max() <= high


def test_a_uniform_prior_is_uniform_and_independent(box: Box, typical: torch.Generator) -> None:
    theta = box.sample(20_000, typical).double().numpy()
    for column, (low, high) in zip(theta.T, BOUNDS, strict=True):
        assert stats.kstest(column, stats.uniform(low, high - low).cdf).pvalue > 0.01
    assert np.abs(np.corrcoef(theta.T) - np.eye(3)).max() < 0.03


def test_a_normal_prior_is_normal_about_the_middle_within_the_bounds(typical: torch.Generator) -> None:
    theta = Box(BOUNDS, "normal").sample(20_000, typical).double().numpy()
    for column, (low, high) in zip(theta.T, BOUNDS, strict=True):
        # a quarter of the width, cut two standard deviations from the middle
        law = stats.truncnorm(-2, 2, loc=(low + high) / 2, scale=(high - low) / 4)
        assert stats.kstest(column, law.cdf).pvalue > 0.01
    assert np.abs(np.corrcoef(theta.T) - np.eye(3)).max() < 0.03


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.1), (-1.0, 0.5), (0.9, 3.0), (1.0, 0.01), (0.0, 100.0)])
def test_mean_and_deviation_are_those_of_a_truncated_normal(
    mean: float, std: float, generator: torch.Generator
) -> None:
    theta = Box([[-1, 1]], [{"mean": mean, "std": std}]).sample(20_000, generator)[:, 0].double().numpy()
    law = stats.truncnorm((-1 - mean) / std, (1 - mean) / std, loc=mean, scale=std)
    assert -1 <= theta.min() <= theta.max() <= 1
    assert stats.kstest(theta, law.cdf).pvalue > 0.01


def test_each_parameter_may_have_a_prior_of_its_own(typical: torch.Generator) -> None:
    theta = Box(BOUNDS, ["uniform", "normal", {"mean": 2.1, "std": 0.05}]).sample(20_000, typical).double().numpy()
    laws = [stats.uniform(-1, 2), stats.truncnorm(-2, 2, 500, 250), stats.truncnorm(-2, 8, 2.1, 0.05)]
    for column, law in zip(theta.T, laws, strict=True):
        assert stats.kstest(column, law.cdf).pvalue > 0.01


def test_sampling_depends_on_the_generator_alone() -> None:
    box = Box(BOUNDS, "normal")
    first, again, other = (box.sample(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_solution_is_its_own_parameters(box: Box, generator: torch.Generator) -> None:
    theta = box.sample(7, generator)
    assert torch.equal(box.decode(theta), theta)
    assert torch.equal(box.encode(theta), theta)


def test_projection_gives_the_nearest_point_of_the_box(box: Box) -> None:
    theta = torch.tensor([[-3.0, 1500.0, 2.2], [0.5, -1.0, 9.0], [0.5, 10.0, 2.1]])
    expected = torch.tensor([[-1.0, 1000.0, 2.2], [0.5, 0.0, 2.5], [0.5, 10.0, 2.1]])
    assert torch.equal(box.project(theta), expected)


def test_constrained_numbers_are_in_bounds_and_reach_all_of_them(box: Box) -> None:
    low, middle, high = box.from_shares(torch.tensor([[0.0] * 3, [0.5] * 3, [1.0] * 3]))
    torch.testing.assert_close(low, torch.tensor([-1.0, 0.0, 2.0]))
    torch.testing.assert_close(middle, torch.tensor([0.0, 500.0, 2.25]))
    torch.testing.assert_close(high, torch.tensor([1.0, 1000.0, 2.5]))
    assert box.in_range(torch.stack([low, high])).all()


def test_coordinates_are_shares_of_the_ranges(box: Box, generator: torch.Generator) -> None:
    theta = box.sample(6, generator).view(2, 3, 3)
    low, high = np.array(BOUNDS).T
    expected = (theta.double().numpy() - low) / (high - low)
    np.testing.assert_allclose(box.coordinates(theta).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(box.scaled(theta).numpy(), expected, atol=1e-5)


def test_the_squared_error_is_in_units_of_the_ranges(box: Box) -> None:
    theta, x = torch.tensor([[0.0, 100.0, 2.0], [0.0, 0.0, 2.0]]), torch.tensor([0.0, 0.0, 2.25])
    torch.testing.assert_close(box.squared_error(theta, x), torch.tensor([(0.1**2 + 0.5**2) / 3, 0.5**2 / 3]))


@pytest.mark.parametrize(
    ("x", "inside"),
    [
        ([0.0, 500.0, 2.2], True),
        ([-1.0, 0.0, 2.5], True),
        ([0.0, 1000.0005, 2.2], True),
        ([0.0, 1000.01, 2.2], False),
        ([1.00001, 500.0, 2.2], False),
        ([math.nan, 500.0, 2.2], False),
        ([0.0, 500.0, math.inf], False),
    ],
)
def test_the_range_has_a_millionth_of_its_largest_bound_to_spare(box: Box, x: list[float], inside: bool) -> None:
    assert bool(box.in_range(torch.tensor(x, dtype=torch.float64))) is inside


def test_vectors_have_no_straightness(box: Box) -> None:
    assert box.straightness(torch.zeros(2, 3)) is None


@pytest.mark.parametrize("prior", ["normal", ["uniform", "normal", {"mean": 2.1, "std": 0.05}]])
def test_the_config_builds_the_same_box(prior: Any) -> None:
    box = Box(BOUNDS, prior)
    again = instantiate(json.loads(json.dumps(box.config)))
    assert again.config == box.config
    first, second = (each.sample(9, torch.Generator().manual_seed(3)) for each in (box, again))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([], r"data\.bounds is empty; give \[lowest, highest\] for each parameter"),
        (3, r"data\.bounds is 3; give \[lowest, highest\] for each parameter"),
        ([[0, 1], [1, 1]], r"data\.bounds\[1\] is \[1, 1\]; it must be \[lowest, highest\] with lowest < highest"),
        ([[1, 0]], r"data\.bounds\[0\] is \[1, 0\]"),
        ([[0]], r"data\.bounds\[0\] is \[0\]"),
        ([[0, 1, 2]], r"data\.bounds\[0\] is \[0, 1, 2\]"),
        ([[0, math.inf]], r"data\.bounds\[0\] is \[0, inf\]"),
        ([[math.nan, 1]], r"data\.bounds\[0\] is \[nan, 1\]"),
        ([0, 1], r"data\.bounds\[0\] is 0; it must be \[lowest, highest\]"),
        ([["a", "b"]], r"data\.bounds\[0\] is \['a', 'b'\]"),
        ([None], r"data\.bounds\[0\] is None"),
    ],
)
def test_senseless_bounds_are_refused(bounds: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Box(bounds)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("gaussian", r"data\.prior holds 'gaussian'; it must be uniform, normal or \{mean: \.\.\., std: \.\.\.\}"),
        (["uniform"], r"data\.prior has 1 entries for 2 parameters; give one for each, or one word for all"),
        (["uniform", "flat"], r"data\.prior holds 'flat'"),
        (["uniform", {"mean": 0.5}], r"data\.prior holds \{'mean': 0\.5\}"),
        (["uniform", {"mean": 0.5, "std": 1, "skew": 2}], r"data\.prior holds \{'mean'"),
        (["uniform", {"mean": 3, "std": 1}], r"data\.prior holds mean 3 and std 1 for a parameter in \[0, 2\]"),
        (["uniform", {"mean": 1, "std": 0}], r"mean 1 and std 0 .* the mean must be in range and std positive"),
        (["uniform", {"mean": 1, "std": math.inf}], r"std inf"),
        (["uniform", {"mean": math.nan, "std": 1}], r"mean nan"),
        (["uniform", {"mean": "a", "std": 1}], r"data\.prior holds \{'mean': 'a', 'std': 1\}"),
        (["uniform", 3], r"data\.prior holds 3"),
        ({"mean": 0, "std": 1}, r"data\.prior is \{'mean': 0, 'std': 1\}; it must be uniform, normal or a list"),
        (3, r"data\.prior is 3"),
    ],
)
def test_a_senseless_prior_is_refused(prior: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Box([[0, 1], [0, 2]], prior)
