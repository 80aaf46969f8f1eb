import numpy as np
import pytest
import torch
from scipy import stats

from cvae.networks import EndpointsHead, PointsHead


def raw_inputs(outputs, generator):
    """Numbers of every size, of both signs, and infinities."""
    scale = 10.0 ** torch.linspace(-3, 30, 200)[:, None]
    raw = scale * torch.randn(200, outputs, generator=generator)
    extremes = torch.tensor([[0.0] * outputs, [torch.inf] * outputs, [-torch.inf] * outputs])
    return torch.cat([raw, extremes])


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0)])
def test_endpoints_are_in_range_and_in_order_for_any_input(bounds, generator):
    head = EndpointsHead(50, ["falling", "rising"], bounds)
    assert head.outputs == 4
    raw = raw_inputs(4, generator)
    x = head(raw)
    assert x.shape == (203, 2, 50)
    assert x.min() >= bounds[0] - 1e-6
    assert x.max() <= bounds[1] + 1e-6
    ends = head.endpoints(raw)
    assert (ends[:, 0, 0] >= ends[:, 0, 1]).all()
    assert (ends[:, 1, 0] <= ends[:, 1, 1]).all()


def test_the_endpoints_head_gives_straight_lines_with_the_required_slope(generator):
    x = EndpointsHead(50, ["falling", "rising"], [0, 1])(torch.randn(50, 4, generator=generator)).double().numpy()
    for lines in x:
        for line, sign in zip(lines, (-1, 1), strict=True):
            assert np.abs(np.diff(line, 2)).max() < 1e-6
            assert sign * stats.pearsonr(np.arange(50), line).statistic > 0.999


def test_the_endpoints_head_reaches_all_of_the_range():
    ends = EndpointsHead(50, ["rising"], [-2, 3]).endpoints(torch.tensor([[-20.0, 20.0], [0.0, 0.0]]))
    torch.testing.assert_close(ends, torch.tensor([[[-2.0, 3.0]], [[0.5, 0.5]]]))


def test_the_endpoints_head_passes_gradients_to_every_input(generator):
    raw = torch.randn(30, 4, generator=generator, requires_grad=True)
    EndpointsHead(50, ["falling", "rising"], [0, 1])(raw).square().sum().backward()
    assert (raw.grad != 0).all()


@pytest.mark.parametrize("head", [EndpointsHead(50, ["falling", "rising"], [-1, 2]), PointsHead(2, 50)])
def test_the_squared_error_is_that_of_the_decoded_solutions(head, generator):
    raw = torch.randn(3, 5, head.outputs, generator=generator)
    x = head(torch.randn(3, head.outputs, generator=generator))
    expected = [[np.mean((head(raw[n, k]) - x[n]).numpy() ** 2) for k in range(5)] for n in range(3)]
    np.testing.assert_allclose(head.squared_error(raw, x).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4)])
def test_the_points_head_only_reshapes(shape, generator):
    head = PointsHead(2, 50)
    assert head.outputs == 100
    raw = torch.randn(*shape, 100, generator=generator)
    assert torch.equal(head(raw), raw.reshape(*shape, 2, 50))
