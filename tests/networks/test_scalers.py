import numpy as np
import pytest
import torch

from cvae.networks import ConditionScaler, RangeScaler

# --- solutions


@pytest.mark.parametrize("shape", [(3,), (2, 50), (1, 8, 8)])
def test_each_coordinate_of_x_becomes_a_share_of_the_range_of_its_data(shape, generator):
    unit = torch.logspace(-6, 6, int(np.prod(shape))).view(shape)
    x = unit * torch.randn(40, *shape, generator=generator) - unit
    scaler = RangeScaler(shape)
    scaler.fit(x)
    values = x.numpy()
    low, high = values.min(0), values.max(0)
    np.testing.assert_allclose(scaler(x).numpy(), (values - low) / (high - low), rtol=1e-5, atol=1e-6)
    assert scaler(x).amin(0).tolist() == torch.zeros(shape).tolist()
    torch.testing.assert_close(scaler(x).amax(0), torch.ones(shape))


def test_a_coordinate_of_x_that_never_changes_keeps_its_unit():
    x = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    scaler = RangeScaler((2,))
    scaler.fit(x)
    assert scaler(x).tolist() == [[0, 0], [1, 0]]
    assert scaler(torch.tensor([[1.0, 7.5]])).tolist() == [[0, 0.5]]


# --- conditions


def numpy_scale(values):
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], method="lower")
    return middle, (high - low) / 1.349


def fitted(y):
    scaler = ConditionScaler(tuple(y.shape[1:]))
    scaler.fit(y)
    return scaler


def test_the_scale_of_a_curve_is_median_and_interquartile_range_over_all_of_its_points(generator):
    scale = torch.tensor([1.0, 1e6, 1e-6]).reshape(1, 3, 1)
    y = scale * torch.randn(500, 3, 50, generator=generator) + scale
    scaler = fitted(y)
    assert scaler.centre.shape == scaler.scale.shape == (3, 1)
    for n in range(3):
        centre, spread = numpy_scale(y[:, n].numpy().ravel().astype(float))
        assert scaler.centre[n].item() == pytest.approx(centre, rel=1e-6)
        assert scaler.scale[n].item() == pytest.approx(spread, rel=1e-6)
    expected = np.arcsinh(((y - scaler.centre) / scaler.scale).numpy()).reshape(500, 150)
    np.testing.assert_allclose(scaler(y).numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 10])
def test_each_entry_of_a_vector_has_a_scale_of_its_own(size, generator):
    unit = torch.logspace(-3, 3, size)
    y = unit * torch.randn(500, size, generator=generator) + 2 * unit
    scaler = fitted(y)
    for n in range(size):
        centre, spread = numpy_scale(y[:, n].double().numpy())
        assert scaler.centre[n].item() == pytest.approx(centre, rel=1e-6)
        assert scaler.scale[n].item() == pytest.approx(spread, rel=1e-6)
    expected = np.arcsinh(((y - scaler.centre) / scaler.scale).numpy())
    np.testing.assert_allclose(scaler(y).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_a_condition_that_is_empty_has_no_features():
    assert fitted(torch.zeros(5, 0))(torch.zeros(5, 0)).shape == (5, 0)


def test_the_entries_of_a_class_stay_of_order_one():
    y = torch.nn.functional.one_hot(torch.arange(100) % 10, 10).float()
    features = fitted(y)(y)
    assert features.abs().max() < 5
    assert len(features.unique(dim=0)) == 10


def test_heavy_tails_leave_the_bulk_of_order_one(generator):
    uniform = torch.rand(2_000, 1, 50, generator=generator) - 0.5
    y = 1 / uniform**3
    assert y.abs().max() > 1e10
    scaler = fitted(y)
    assert 0.5 < scaler(y).quantile(0.9) - scaler(y).quantile(0.1) < 10
    assert scaler(y).abs().max() < 100


@pytest.mark.parametrize("value", [0.0, 0.3, -7e5])
@pytest.mark.parametrize("shape", [(1, 50), (1,)])
def test_a_constant_condition_keeps_its_unit(value, shape):
    scaler = fitted(torch.full((100, *shape), value))
    assert scaler.centre.item() == pytest.approx(value)
    assert scaler.scale.item() == 1


def test_rounding_noise_is_no_scale(generator):
    angle = torch.rand(100, 1, 50, generator=generator)
    assert fitted(angle.sin().square() + angle.cos().square()).scale.item() == 1


def test_a_condition_that_is_mostly_constant_is_scaled_by_its_standard_deviation(generator):
    y = torch.zeros(100, 1, 50)
    y[:10] = torch.randn(10, 1, 50, generator=generator)
    assert fitted(y).scale.item() == pytest.approx(y.numpy().std(ddof=1), rel=1e-5)
