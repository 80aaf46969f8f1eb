import pytest
import torch
from torch import nn

from cvae.networks import starter

X, Y = (2, 50), (1, 50)


@pytest.fixture
def batch(generator):
    return torch.rand(6, *X, generator=generator), torch.rand(6, *Y, generator=generator)


def test_its_layers_are_those_of_the_challenge():
    network = starter(X, Y, latent_dim=6)
    encoder = [*network.encoder.body, network.encoder.out]
    kinds = [type(layer) for layer in encoder]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear]
    assert encoder[0].weight.shape == (32, 1, 16, 2)
    assert encoder[2].weight.shape == (64, 32, 8, 1)
    assert encoder[5].weight.shape == (12, 64 * 28)
    decoder = list(network.decoder.body)
    assert [type(layer) for layer in decoder] == [
        nn.Linear, nn.ReLU, nn.Unflatten, nn.ConvTranspose2d, nn.ReLU, nn.ConvTranspose2d, nn.ReLU,
    ]  # fmt: skip
    assert decoder[0].weight.shape == (64 * 28, 6 + 50)
    assert decoder[3].weight.shape == (64, 32, 8, 1)
    assert decoder[5].weight.shape == (32, 1, 16, 2)
    assert not list(network.prior.parameters())


def test_its_parameters_are_as_many_as_the_challenge_s():
    encoder = (32 * 16 * 2 + 32) + (64 * 32 * 8 + 64) + (1792 * 12 + 12)
    decoder = (56 * 1792 + 1792) + (64 * 32 * 8 + 32) + (32 * 16 * 2 + 1)
    assert sum(p.numel() for p in starter(X, Y, latent_dim=6).parameters()) == encoder + decoder == 158_605


def test_all_of_its_weights_are_trainable_and_nothing_is_scaled(batch):
    network = starter(X, Y, latent_dim=6)
    assert all(p.requires_grad for p in network.parameters())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.fit_scale(*batch)
    assert before.keys() == network.state_dict().keys() == dict(network.named_parameters()).keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_its_encoder_does_not_see_y(batch):
    network = starter(X, Y, latent_dim=6)
    x, y = batch
    assert torch.equal(network.reconstruct(x, y).code, network.reconstruct(x, 5 * y).code)


def test_it_reads_points_by_rows_and_lines_by_columns(batch):
    network = starter(X, Y, latent_dim=6)
    body = nn.functional.relu(nn.functional.conv2d(
        batch[0].permute(0, 2, 1)[:, None], network.encoder.body[0].weight, network.encoder.body[0].bias
    ))  # fmt: skip
    assert body.shape == (6, 32, 35, 1)
    torch.testing.assert_close(network.encoder.body[:2](batch[0].transpose(1, 2).unsqueeze(1)), body)
    body = nn.functional.relu(nn.functional.conv2d(body, *network.encoder.body[2].parameters()))
    mean = nn.functional.linear(body.flatten(1), *network.encoder.out.parameters())[:, :6]
    torch.testing.assert_close(network.encoder(*batch).mean, mean)


def test_it_gives_no_negative_values(batch, generator):
    x = starter(X, Y, latent_dim=6).draw(batch[1], torch.rand(6, 50, 6, generator=generator))
    assert x.shape == (6, 50, 2, 50)
    assert x.min() == 0
    assert x.max() > 0


@pytest.mark.parametrize(("points", "lines", "conditions"), [(23, 2, 1), (64, 3, 2)])
def test_it_fits_other_sizes(points, lines, conditions, generator):
    network = starter((lines, points), (conditions, points), latent_dim=2)
    x, y = torch.rand(3, lines, points, generator=generator), torch.rand(3, conditions, points, generator=generator)
    assert network.reconstruct(x, y).x.shape == (3, 1, lines, points)


@pytest.mark.parametrize(
    ("x_shape", "latent", "message"),
    [
        ((2, 22), 6, "needs lines of at least 23 points; here they have 22"),
        ((3,), 6, r"model=starter is made for lines, not for solutions of shape \(3,\); use model=dense"),
        ((1, 50, 50), 6, r"not for solutions of shape \(1, 50, 50\)"),
        ((2, 50), 0, r"model\.latent_dim is 0"),
    ],
)
def test_what_it_is_not_made_for_is_refused(x_shape, latent, message):
    with pytest.raises(ValueError, match=message):
        starter(x_shape, (1, 50), latent_dim=latent)
