"""What lines and boxes share."""

from __future__ import annotations

import pytest
import torch

from cvae.tasks import Box, Lines, Space

SPACES = {
    "lines": Lines(9, ("falling", "rising"), (-2.0, 3.0)),
    "unit lines": Lines(9, ("falling",)),
    "box": Box([[-1, 1], [0, 1000], [2, 2.5]]),
    "unit box": Box([[0, 1], [0, 1]]),
}


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> Space:
    return SPACES[request.param]


def test_parameters_survive_the_way_to_solutions_and_back(space: Space, generator: torch.Generator) -> None:
    theta = space.sample(12, generator).view(3, 4, space.parameters)
    x = space.decode(theta)
    assert x.shape == (3, 4, *space.x_shape)
    torch.testing.assert_close(space.encode(x), theta, rtol=1e-5, atol=1e-5)


def test_what_is_allowed_stays_where_it_is(space: Space, generator: torch.Generator) -> None:
    theta = space.sample(100, generator)
    assert torch.equal(space.project(theta), theta)
    assert space.in_range(space.decode(theta)).all()


def test_what_is_projected_or_constrained_is_in_range(space: Space, generator: torch.Generator) -> None:
    raw = 2_000 * torch.randn(200, space.parameters, generator=generator)
    share = torch.rand(200, space.parameters, generator=generator).round(decimals=1)
    for theta in (space.project(raw), space.from_shares(share), space.clamp(raw)):
        assert space.in_range(space.decode(theta)).all()
        shares = space.scaled(theta)
        assert -1e-6 <= shares.min() <= shares.max() <= 1 + 1e-6


def test_scaled_parameters_are_shares_of_their_ranges(space: Space, generator: torch.Generator) -> None:
    theta = space.sample(20, generator)
    shares = space.scaled(theta)
    for number, (low, high) in enumerate(space.bounds):
        torch.testing.assert_close(shares[:, number], (theta[:, number] - low) / (high - low))
    torch.testing.assert_close(space.low(theta) + shares * space.span(theta), theta)


def test_coordinates_are_flat_and_shares_of_the_ranges_of_the_values(space: Space, generator: torch.Generator) -> None:
    x = space.decode(space.sample(6, generator)).unflatten(0, (2, 3))
    found = space.coordinates(x)
    assert found.shape == (2, 3, torch.Size(space.x_shape).numel())
    assert 0 <= found.min() <= found.max() <= 1
    low = torch.tensor([bound[0] for bound in space.value_bounds])
    span = torch.tensor([bound[1] - bound[0] for bound in space.value_bounds])
    torch.testing.assert_close(found * span + low, x.flatten(2), rtol=1e-5, atol=1e-5)
    # residuals of x are measured in the same units
    scaled = (x - x.roll(1, 1)) / space.x_scale(x)
    torch.testing.assert_close(scaled.flatten(2), found - found.roll(1, 1), rtol=1e-4, atol=1e-5)


def test_the_squared_error_is_the_mean_over_coordinates(space: Space, generator: torch.Generator) -> None:
    theta, other = (space.sample(20, generator).double() for _ in range(2))
    x = space.decode(other)
    expected = (space.coordinates(space.decode(theta)) - space.coordinates(x)).square().mean(-1)
    torch.testing.assert_close(space.squared_error(theta, x), expected)


def test_constrained_parameters_pass_a_gradient_on(space: Space) -> None:
    share = torch.rand(5, space.parameters, requires_grad=True)
    space.decode(space.from_shares(share)).sum().backward()
    assert share.grad is not None
    assert (share.grad != 0).all()


def test_samples_lie_on_the_device_of_the_generator_and_leave_the_global_one_alone(
    space: Space, generator: torch.Generator
) -> None:
    before = torch.get_rng_state()
    assert space.sample(3, generator).device == generator.device
    assert torch.equal(torch.get_rng_state(), before)


def test_constants_have_the_number_format_of_what_they_meet(space: Space) -> None:
    for dtype in (torch.float32, torch.float64):
        theta = torch.rand(2, space.parameters, dtype=dtype)
        assert space.low(theta).dtype == space.scaled(theta).dtype == space.decode(theta).dtype == dtype
