import re

import numpy as np
import pytest
import torch
from scipy import stats

from cvae.errors import UserError
from cvae.networks import ParametersHead, ProbabilitiesHead, ValuesHead
from cvae.networks.heads import BENT, LINKS, linear_share
from cvae.tasks import Box, Lines
from cvae.tasks.lines import APART

BOUNDS = [[-1, 1], [10, 20], [0, 1e-3]]


def lines(range=(0, 1), directions=("falling", "rising")):
    return Lines(50, list(directions), range)


def raw_inputs(outputs, generator):
    """Numbers of every size, of both signs, and infinities."""
    scale = 10.0 ** torch.linspace(-3, 30, 200)[:, None]
    raw = scale * torch.randn(200, outputs, generator=generator)
    extremes = torch.tensor([[0.0] * outputs, [torch.inf] * outputs, [-torch.inf] * outputs])
    return torch.cat([raw, extremes])


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0)])
def test_lines_are_in_range_and_have_their_directions_for_any_input(bounds, link, generator):
    head = ParametersHead(lines(bounds), link)
    assert head.outputs == 4
    x = head(raw_inputs(4, generator))
    assert x.shape == (203, 2, 50)
    assert head.space.in_range(x).all()
    assert (x[:, 0, 0] >= x[:, 0, -1]).all()
    assert (x[:, 1, 0] <= x[:, 1, -1]).all()


@pytest.mark.parametrize("link", LINKS)
def test_vectors_are_in_their_box_for_any_input(link, generator):
    head = ParametersHead(Box(BOUNDS), link)
    assert head.outputs == 3
    x = head(raw_inputs(3, generator))
    low, high = torch.tensor(BOUNDS).T
    assert ((x >= low) & (x <= high)).all()
    assert head.space.in_range(x).all()


def test_lines_are_straight_and_have_the_required_slope(generator):
    x = ParametersHead(lines())(torch.randn(50, 4, generator=generator)).double().numpy()
    for both in x:
        for line, sign in zip(both, (-1, 1), strict=True):
            assert np.abs(np.diff(line, 2)).max() < 1e-6
            assert sign * stats.pearsonr(np.arange(50), line).statistic > 0.999


def test_all_of_the_range_is_reached():
    x = ParametersHead(lines((-2, 3), ["rising"]))(torch.tensor([[-20.0, 20.0], [0.0, 0.0]]))
    # two ends that are alike are parted by half of the least rise each
    part = 5 * APART / 2
    torch.testing.assert_close(x[:, 0, [0, -1]], torch.tensor([[-2.0, 3.0], [0.5 - part, 0.5 + part]]))
    low, high = torch.tensor(BOUNDS).T
    vectors = ParametersHead(Box(BOUNDS))(torch.tensor([[-20.0] * 3, [20.0] * 3, [0.0] * 3]))
    torch.testing.assert_close(vectors, torch.stack([low, high, (low + high) / 2]))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("space", [lines(), Box(BOUNDS)], ids=["lines", "box"])
def test_gradients_pass_to_every_input(space, link, generator):
    raw = (3 * torch.randn(30, space.parameters, generator=generator)).requires_grad_()
    ParametersHead(space, link)(raw).square().sum().backward()
    assert (raw.grad != 0).all()


def test_the_linear_link_is_the_tangent_of_the_logistic_one_and_bends_smoothly_at_the_ends_of_the_range():
    raw = torch.linspace(-8, 8, 100_001, dtype=torch.double)
    share = linear_share(raw)
    inner = raw.abs() < 4 * (0.5 - BENT)
    torch.testing.assert_close(share[inner], 0.5 + raw[inner] / 4)
    # beyond, it never reaches the ends
    assert 0 < share.min() < BENT / 10
    torch.testing.assert_close(share + share.flip(0), torch.ones_like(share))
    ends = torch.tensor([-5.0, -1.97, -1.5, 0.0, 1.97, 5.0], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(linear_share, ends)
    # monotone, and without a jump of the slope, which changes fastest where it begins to bend: by 2 / BENT
    slope = share.diff() / raw.diff()
    assert (slope > 0).all()
    assert slope.diff().abs().max() < 2 / BENT / 16 * raw.diff().max() * 1.01


def test_the_linear_link_takes_infinities_to_the_ends_of_the_range():
    raw = torch.tensor([-torch.inf, torch.inf], requires_grad=True)
    share = linear_share(raw)
    share.sum().backward()
    assert share.tolist() == [0.0, 1.0]
    assert raw.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("link", LINKS)
def test_parameters_are_worked_out_in_full_precision(link, generator):
    space = lines()
    head = ParametersHead(space, link)
    assert head(torch.randn(5, 4).bfloat16()).dtype == torch.float32
    raw = torch.randn(5, 4, generator=generator)
    x = head(raw)
    with torch.autocast("cpu", torch.bfloat16):
        assert head.squared_error(raw.unsqueeze(1), x).max() < 1e-12


@pytest.mark.parametrize("link", ["relu", ["linear"], None])
def test_another_link_is_refused(link):
    given = re.escape(repr(link))
    with pytest.raises(UserError, match=rf"model.head.link is {given}; it must be one of logistic, linear."):
        ParametersHead(lines(), link)


@pytest.mark.parametrize(
    ("head", "scale"),
    [
        (ParametersHead(lines((-1, 2))), 3.0),
        (ParametersHead(Box(BOUNDS)), np.array([2.0, 10.0, 1e-3])),
        (ParametersHead(lines((-1, 2)), "linear"), 3.0),
        (ValuesHead([2, 50]), 1.0),
        (ValuesHead([1, 4, 4]), 1.0),
    ],
    ids=["lines", "box", "linear", "values", "image"],
)
def test_the_squared_error_is_the_distance_of_the_decoded_solutions_in_units_of_their_ranges(head, scale, generator):
    raw = torch.randn(3, 5, head.outputs, generator=generator)
    x = head(torch.randn(3, head.outputs, generator=generator))
    expected = [[np.mean(((head(raw[n, k]) - x[n]).numpy() / scale) ** 2) for k in range(5)] for n in range(3)]
    np.testing.assert_allclose(head.squared_error(raw, x).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4)])
@pytest.mark.parametrize("x_shape", [(2, 50), (3,), (1, 8, 8)])
def test_the_values_head_only_reshapes(shape, x_shape, generator):
    head = ValuesHead(x_shape)
    assert head.outputs == np.prod(x_shape)
    raw = torch.randn(*shape, head.outputs, generator=generator)
    assert torch.equal(head(raw), raw.reshape(*shape, *x_shape))


def test_probabilities_are_in_the_unit_interval_for_any_input(generator):
    head = ProbabilitiesHead([2, 3])
    raw = raw_inputs(6, generator)
    x = head(raw)
    assert x.shape == (203, 2, 3)
    assert ((x >= 0) & (x <= 1)).all()
    assert torch.equal(x, ValuesHead([2, 3])(raw).sigmoid())
