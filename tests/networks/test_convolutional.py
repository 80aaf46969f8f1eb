import pytest
import torch

from cvae.errors import UserError
from cvae.networks import conv


def network(side=8, channels=(3, 5), sees_y=True):
    torch.manual_seed(0)
    return conv((side, side), (10,), latent_dim=2, channels=list(channels), hidden=7, encoder_sees_y=sees_y)


@pytest.fixture
def batch(generator):
    return torch.rand(6, 8, 8, generator=generator), torch.eye(10)[:6]


@pytest.mark.parametrize(("side", "channels"), [(8, [3]), (8, [3, 4, 5]), (28, [3, 5]), (2, [1])])
def test_images_of_any_side_that_can_be_halved_are_reconstructed(side, channels):
    found = network(side, channels).reconstruct(torch.rand(6, side, side), torch.eye(10)[:6])
    assert found.x.shape == (6, 1, side, side)
    assert found.code.shape == (6, 2)
    assert ((found.x > 0) & (found.x < 1)).all()


def test_draws_have_their_shape_and_depend_on_point_and_class(batch):
    u = torch.tensor([[[0.1, 0.2], [0.9, 0.5]]]).expand(6, -1, -1)
    x = network().draw(batch[1], u)
    assert x.shape == (6, 2, 8, 8)
    assert not torch.allclose(x[0, 0], x[0, 1])
    assert not torch.allclose(x[0, 0], x[1, 0])


@pytest.mark.parametrize("sees_y", [True, False])
def test_the_encoder_sees_the_class_if_it_is_asked_to(batch, sees_y):
    model = network(sees_y=sees_y)
    one, two = (model.encoder(batch[0], model.y_scaler(y)).mean for y in (batch[1], batch[1].roll(1, 0)))
    assert torch.equal(one, two) is not sees_y


def test_every_weight_has_a_gradient(batch):
    model = network()
    model.reconstruct(*batch).x.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 12, "channels": [1, 1, 1]}, "a side of 12 cannot be halved that often"),
        ({"channels": []}, r"channels=\[\]; all must be at least 1"),
        ({"channels": [0]}, r"channels=\[0\]; all must be at least 1"),
    ],
)
def test_senseless_sizes_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        network(**options)


def test_curves_are_refused():
    with pytest.raises(UserError, match=r"for square images, but the data give x of shape \[2, 50\]"):
        conv((2, 50), (10,), latent_dim=2, channels=[1], hidden=7, encoder_sees_y=True)
