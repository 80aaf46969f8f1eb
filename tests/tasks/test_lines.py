import json
import re

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from scipy import stats

from cvae.errors import UserError
from cvae.tasks import Lines


@pytest.fixture
def space():
    return Lines(50, ("falling", "rising"))


def test_decoding_is_linear_interpolation(space):
    ends = [[0.9, 0.2], [0.1, 0.7]]
    x = space.decode(torch.tensor(ends).flatten())
    for line, (left, right) in zip(x, ends, strict=True):
        expected = np.interp(np.linspace(0, 1, 50), [0, 1], [left, right])
        np.testing.assert_allclose(line.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4)])
def test_endpoints_survive_the_way_to_lines_and_back(space, generator, shape):
    theta = torch.rand(*shape, 4, generator=generator)
    x = space.decode(theta)
    assert x.shape == (*shape, 2, 50)
    torch.testing.assert_close(space.encode(x), theta, atol=1e-5, rtol=0)


@pytest.mark.parametrize("points", [3, 50])
def test_encoding_gives_the_least_squares_line(points, generator):
    space = Lines(points, ("falling", "rising"))
    x = torch.rand(5, 2, points, generator=generator)
    t = np.linspace(0, 1, points)
    for found, curve in zip(space.encode(x).view(10, 2), x.flatten(0, 1).double().numpy(), strict=True):
        slope, intercept = np.polyfit(t, curve, 1)
        np.testing.assert_allclose(found.numpy(), [intercept, intercept + slope], atol=1e-5)


def test_samples_are_in_range_and_in_order(generator):
    space = Lines(50, ("falling", "rising"), (-2.0, 3.0))
    theta = space.sample(2_000, generator)
    assert theta.shape == (2_000, 4)
    assert theta.min() >= -2
    assert theta.max() <= 3
    assert (theta[:, 0] >= theta[:, 1]).all()
    assert (theta[:, 2] <= theta[:, 3]).all()


def test_sampled_endpoints_are_two_uniform_order_statistics(space, generator):
    falling, rising = space.sample(20_000, generator).view(-1, 2, 2).unbind(1)
    high, low = stats.beta(2, 1), stats.beta(1, 2)
    for values, law in ((falling[:, 0], high), (falling[:, 1], low), (rising[:, 0], low), (rising[:, 1], high)):
        assert stats.kstest(values.numpy(), law.cdf).pvalue > 0.01


def test_sampled_pairs_are_uniform_over_the_triangle(space, generator):
    falling = space.sample(20_000, generator)[:, :2].numpy()
    # given the higher value, the lower one is uniform below it
    assert stats.kstest(falling[:, 1] / falling[:, 0], "uniform").pvalue > 0.01


def test_lines_are_sampled_independently(space, generator):
    theta = space.sample(20_000, generator).numpy()
    correlation = np.corrcoef(theta.T)
    assert np.abs(correlation[:2, 2:]).max() < 0.03


def test_sampling_depends_on_the_generator_alone(space):
    first, again, other = (space.sample(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_order_sorts_into_the_direction(space):
    pairs = torch.tensor([[0.2, 0.9, 0.9, 0.2], [0.9, 0.2, 0.2, 0.9]])
    assert torch.equal(space.order(pairs), torch.tensor([0.9, 0.2, 0.2, 0.9]).expand(2, 4))


@pytest.mark.parametrize(("direction", "sign"), [("falling", -1), ("rising", 1)])
def test_project_gives_the_nearest_allowed_pair(direction, sign, generator):
    space = Lines(3, (direction,))
    grid = np.linspace(0, 1, 201)
    # a flat line is not allowed, since it neither falls nor rises
    allowed = np.array([(left, right) for left in grid for right in grid if sign * (right - left) > 0])
    pairs = 6 * torch.rand(200, 2, generator=generator, dtype=torch.float64) - 2.5
    for pair, found in zip(pairs.numpy(), space.project(pairs).numpy(), strict=True):
        assert 0 <= found.min() <= found.max() <= 1
        assert sign * (found[1] - found[0]) > 0
        assert np.linalg.norm(found - pair) <= np.linalg.norm(allowed - pair, axis=1).min() + 1e-12


@pytest.mark.parametrize("pair", [(0.4, 0.4), (-0.3, -0.1), (1.2, 1.4), (0.9, 0.2), (0.0, 0.0), (1.0, 1.0)])
def test_what_project_gives_is_never_flat_and_stays_as_it_is(pair):
    space = Lines(50, ("rising",))
    found = space.project(torch.tensor([pair]))
    left, right = found.flatten().tolist()
    assert right - left == pytest.approx(0.001, rel=1e-3)
    assert 0 <= left < right <= 1
    assert torch.equal(space.project(found), found)


def test_project_leaves_allowed_pairs_alone(space, generator):
    allowed = space.sample(100, generator)
    assert torch.equal(space.project(allowed), allowed)


@pytest.mark.parametrize(
    ("points", "directions", "bounds", "message"),
    [
        (2, ["falling"], [0, 1], "data.points is 2; a line needs at least 3 points"),
        (50, [], [0, 1], "data.directions is empty"),
        (50, ["falling", "up"], [0, 1], "data.directions holds 'up'; each entry must be one of falling, rising"),
        (50, ["falling"], [1, 1], r"data.range is \[1, 1\]; it must be \[lowest, highest\]"),
        (50, ["falling"], [1, 0], "data.range"),
        (50, ["falling"], [0], r"data.range is \[0\]"),
        (50, ["falling"], [0, 0.5, 1], "data.range"),
        (50, ["falling"], [0, float("nan")], "data.range"),
        (50, ["falling"], [0, float("inf")], "data.range"),
    ],
)
def test_senseless_lines_are_refused(points, directions, bounds, message):
    with pytest.raises(UserError, match=message):
        Lines(points, directions, bounds)


def test_lists_from_a_config_become_tuples():
    space = Lines(50, ["falling", "rising"], [0, 2])
    assert space.directions == ("falling", "rising")
    assert space.range == (0.0, 2.0)
    assert space.config == Lines(50, ("falling", "rising"), (0.0, 2.0)).config


def test_the_config_builds_the_same_lines():
    space = Lines(7, ["rising"], [-1, 2], ["normal", {"mean": 1.5, "std": 0.3}])
    again = instantiate(json.loads(json.dumps(space.config)))
    assert again.config == space.config
    first, second = (each.sample(9, torch.Generator().manual_seed(3)) for each in (space, again))
    assert torch.equal(first, second)


def test_a_direction_given_as_bare_text_is_refused():
    with pytest.raises(UserError, match=re.escape("data.directions holds 'f'")):
        Lines(50, "falling", [0, 1])


def test_constants_are_made_once_for_each_format(problem):
    space = problem(points=9).space
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    assert space.position(single) is space.position(torch.ones(3))
    assert space.signs(single) is space.signs(torch.ones(3))
    assert space.position(double).dtype == torch.float64
    assert torch.equal(space.position(double), torch.linspace(0, 1, 9, dtype=torch.float64))


def test_constants_made_in_inference_mode_serve_training(problem):
    space = problem(points=37).space
    theta = torch.rand(4, 4)
    with torch.inference_mode():
        space.encode(space.decode(theta))
    theta.requires_grad_()
    space.encode(space.decode(theta)).sum().backward()
    torch.testing.assert_close(theta.grad, torch.ones_like(theta))


def test_the_shapes_and_names_of_two_lines(space):
    assert space.x_shape == (2, 50)
    assert space.parameters == 4
    assert space.names == ["x0 left", "x0 right", "x1 left", "x1 right"]
    assert space.bounds == ((0.0, 1.0),) * 4


# --- priors


def test_a_normal_prior_gives_sorted_truncated_normal_endpoints(generator):
    theta = Lines(50, ("falling", "rising"), (-1.0, 3.0), "normal").sample(20_000, generator)
    assert -1 <= theta.min() <= theta.max() <= 3
    assert (theta[:, 0] >= theta[:, 1]).all()
    assert (theta[:, 2] <= theta[:, 3]).all()
    # the middle of the range, and a quarter of its width; the larger of two has the square of the distribution function
    law = stats.truncnorm(-2, 2, loc=1, scale=1)
    for high, low in (theta[:, [0, 1]].T.numpy(), theta[:, [3, 2]].T.numpy()):
        assert stats.kstest(high, lambda v: law.cdf(v) ** 2).pvalue > 0.01
        assert stats.kstest(low, lambda v: 1 - (1 - law.cdf(v)) ** 2).pvalue > 0.01


def test_each_endpoint_may_have_a_prior_of_its_own(generator):
    # narrow ones that do not overlap are left where they are by the sorting
    prior = [{"mean": 0.8, "std": 0.01}, {"mean": 0.2, "std": 0.02}, {"mean": 0.1, "std": 0.01}, "uniform"]
    theta = Lines(50, ("falling", "rising"), prior=prior).sample(5_000, generator).double().numpy()
    assert stats.kstest(theta[:, 0], stats.norm(0.8, 0.01).cdf).pvalue > 0.01
    assert stats.kstest(theta[:, 1], stats.norm(0.2, 0.02).cdf).pvalue > 0.01
    assert theta[:, 3].mean() == pytest.approx(0.5, abs=0.03)


def test_a_prior_with_another_number_of_entries_is_refused():
    with pytest.raises(UserError, match=r"data\.prior has 2 entries for 4 parameters"):
        Lines(50, ("falling", "rising"), prior=["uniform", "normal"])


# --- straightness and distances


def test_a_line_is_straight_in_its_direction_alone(space):
    x = space.decode(torch.tensor([[0.9, 0.2, 0.1, 0.7], [0.2, 0.9, 0.5, 0.5]]))
    torch.testing.assert_close(space.straightness(x), torch.tensor([[1.0, 1.0], [-1.0, 0.0]]))


def test_the_squared_error_of_parameters_is_that_of_the_lines(generator):
    space = Lines(23, ("falling", "rising"), (-1.0, 4.0))
    theta = space.sample(12, generator).view(3, 4, 4)
    x = space.decode(space.sample(3, generator)).unsqueeze(1)
    expected = ((space.decode(theta) - x) / 5).square().mean((-2, -1))
    torch.testing.assert_close(space.squared_error(theta, x), expected)


@pytest.mark.parametrize("ends", [[0.0, 1.0], [-5.0, 3.0], [100.0, 101.0], [1000.0, 1001.0]])
def test_no_constrained_line_is_flat(ends):
    """Where a link function is 0 or 1 in the number format, both endpoints are alike."""
    space = Lines(50, ["falling", "rising"], ends)
    share = torch.tensor([[a, a, b, b] for a in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)])
    x = space.decode(space.from_shares(share))
    assert (space.straightness(x) > 0.99).all()
    assert (x >= ends[0]).all()
    assert (x <= ends[1]).all()


def test_constrained_endpoints_are_allowed(generator):
    space = Lines(50, ("falling", "rising"), (-2.0, 3.0))
    theta = space.from_shares(torch.rand(1_000, 4, generator=generator))
    assert -2 <= theta.min() <= theta.max() <= 3
    assert (theta[:, 0] >= theta[:, 1]).all()
    assert (theta[:, 2] <= theta[:, 3]).all()
