import re

import numpy as np
import pytest
import torch
from scipy import stats

from cvae.problems import LineGeometry
from cvae.problems.geometry import geometry_from_config


@pytest.fixture
def geometry():
    return LineGeometry(50, ("falling", "rising"))


def test_to_lines_is_linear_interpolation(geometry):
    endpoints = torch.tensor([[0.9, 0.2], [0.1, 0.7]])
    x = geometry.to_lines(endpoints)
    for line, (left, right) in zip(x, endpoints.tolist(), strict=True):
        expected = np.interp(np.linspace(0, 1, 50), [0, 1], [left, right])
        np.testing.assert_allclose(line.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4)])
def test_endpoints_survive_the_way_to_lines_and_back(geometry, generator, shape):
    endpoints = torch.rand(*shape, 2, 2, generator=generator)
    x = geometry.to_lines(endpoints)
    assert x.shape == (*shape, 2, 50)
    torch.testing.assert_close(geometry.to_endpoints(x), endpoints, atol=1e-5, rtol=0)


@pytest.mark.parametrize("points", [3, 50])
def test_to_endpoints_is_the_least_squares_line(points, generator):
    geometry = LineGeometry(points, ("falling", "rising"))
    x = torch.rand(5, 2, points, generator=generator)
    t = np.linspace(0, 1, points)
    for found, curve in zip(
        geometry.to_endpoints(x).flatten(0, 1), x.flatten(0, 1).numpy().astype(np.float64), strict=True
    ):
        slope, intercept = np.polyfit(t, curve, 1)
        np.testing.assert_allclose(found.numpy(), [intercept, intercept + slope], atol=1e-5)


def test_samples_are_in_range_and_in_order(generator):
    geometry = LineGeometry(50, ("falling", "rising"), (-2.0, 3.0))
    endpoints = geometry.sample(2_000, generator)
    assert endpoints.shape == (2_000, 2, 2)
    assert endpoints.min() >= -2
    assert endpoints.max() <= 3
    assert (endpoints[:, 0, 0] >= endpoints[:, 0, 1]).all()
    assert (endpoints[:, 1, 0] <= endpoints[:, 1, 1]).all()


def test_sampled_endpoints_are_two_uniform_order_statistics(geometry, generator):
    falling, rising = geometry.sample(20_000, generator).unbind(1)
    high, low = stats.beta(2, 1), stats.beta(1, 2)
    for values, law in ((falling[:, 0], high), (falling[:, 1], low), (rising[:, 0], low), (rising[:, 1], high)):
        assert stats.kstest(values.numpy(), law.cdf).pvalue > 0.01


def test_sampled_pairs_are_uniform_over_the_triangle(geometry, generator):
    falling = geometry.sample(20_000, generator)[:, 0].numpy()
    # given the higher value, the lower one is uniform below it
    assert stats.kstest(falling[:, 1] / falling[:, 0], "uniform").pvalue > 0.01


def test_lines_are_sampled_independently(geometry, generator):
    endpoints = geometry.sample(20_000, generator).flatten(1).numpy()
    correlation = np.corrcoef(endpoints.T)
    assert np.abs(correlation[:2, 2:]).max() < 0.03


def test_sampling_depends_on_the_generator_alone(geometry):
    first, again, other = (geometry.sample(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_order_sorts_into_the_direction(geometry):
    pairs = torch.tensor([[[0.2, 0.9], [0.9, 0.2]], [[0.9, 0.2], [0.2, 0.9]]])
    assert torch.equal(geometry.order(pairs), torch.tensor([[[0.9, 0.2], [0.2, 0.9]]]).expand(2, 2, 2))


@pytest.mark.parametrize(("direction", "sign"), [("falling", -1), ("rising", 1)])
def test_project_gives_the_nearest_allowed_pair(direction, sign, generator):
    geometry = LineGeometry(3, (direction,))
    grid = np.linspace(0, 1, 201)
    # a flat line is not allowed, since it neither falls nor rises
    allowed = np.array([(left, right) for left in grid for right in grid if sign * (right - left) > 0])
    pairs = 6 * torch.rand(200, 2, generator=generator, dtype=torch.float64) - 2.5
    for pair, found in zip(pairs.numpy(), geometry.project(pairs[:, None])[:, 0].numpy(), strict=True):
        assert 0 <= found.min() <= found.max() <= 1
        assert sign * (found[1] - found[0]) > 0
        assert np.linalg.norm(found - pair) <= np.linalg.norm(allowed - pair, axis=1).min() + 1e-12


@pytest.mark.parametrize("pair", [(0.4, 0.4), (-0.3, -0.1), (1.2, 1.4), (0.9, 0.2), (0.0, 0.0), (1.0, 1.0)])
def test_what_project_gives_is_never_flat_and_stays_as_it_is(pair):
    geometry = LineGeometry(50, ("rising",))
    found = geometry.project(torch.tensor([[pair]]))
    left, right = found.flatten().tolist()
    assert right - left == pytest.approx(0.001, rel=1e-3)
    assert 0 <= left < right <= 1
    assert torch.equal(geometry.project(found), found)


def test_project_leaves_allowed_pairs_alone(geometry, generator):
    allowed = geometry.sample(100, generator)
    assert torch.equal(geometry.project(allowed), allowed)


@pytest.mark.parametrize(
    ("points", "directions", "bounds", "message"),
    [
        (2, ["falling"], [0, 1], "data.points is 2; a line needs at least 3 points"),
        (50, [], [0, 1], "data.directions is empty"),
        (50, ["falling", "up"], [0, 1], "data.directions holds 'up'; each entry must be one of falling, rising"),
        (50, ["falling"], [1, 1], r"data.range is \[1.0, 1.0\]; it must be \[lowest, highest\]"),
        (50, ["falling"], [1, 0], "data.range"),
        (50, ["falling"], [0], r"data.range is \[0.0\]"),
        (50, ["falling"], [0, 0.5, 1], "data.range"),
        (50, ["falling"], [0, float("nan")], "data.range"),
        (50, ["falling"], [0, float("inf")], "data.range"),
    ],
)
def test_senseless_geometry_is_refused(points, directions, bounds, message):
    with pytest.raises(ValueError, match=message):
        geometry_from_config(points, directions, bounds)


def test_lists_from_a_config_become_tuples():
    geometry = geometry_from_config(50, ["falling", "rising"], [0, 2])
    assert geometry.directions == ("falling", "rising")
    assert geometry.range == (0.0, 2.0)
    assert hash(geometry) == hash(LineGeometry(50, ("falling", "rising"), (0.0, 2.0)))


def test_a_direction_given_as_bare_text_is_refused():
    with pytest.raises(ValueError, match=re.escape("data.directions holds 'f'")):
        geometry_from_config(50, "falling", [0, 1])


def test_constants_are_made_once_for_each_format(problem):
    geometry = problem(points=9).geometry
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    assert geometry.position(single) is geometry.position(torch.ones(3))
    assert geometry.signs(single) is geometry.signs(torch.ones(3))
    assert geometry.position(double).dtype == torch.float64
    assert torch.equal(geometry.position(double), torch.linspace(0, 1, 9, dtype=torch.float64))


def test_constants_made_in_inference_mode_serve_training(problem):
    geometry = problem(points=37).geometry
    endpoints = torch.rand(4, 2, 2)
    with torch.inference_mode():
        geometry.to_endpoints(geometry.to_lines(endpoints))
    endpoints.requires_grad_()
    geometry.to_endpoints(geometry.to_lines(endpoints)).sum().backward()
    torch.testing.assert_close(endpoints.grad, torch.ones_like(endpoints))
