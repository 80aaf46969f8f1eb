import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn

from cvae.networks import (
    ConditionScaler,
    EndpointsHead,
    PointsHead,
    deep,
    dense,
    starter,
)

SHAPES = {"lines": 2, "points": 50, "conditions": 1}
LATENT = 3


def build(kind="dense", encoder_sees_y=True, head=None, **shapes):
    shapes = SHAPES | shapes
    head = head or EndpointsHead(shapes["points"], ["falling", "rising"], [0, 1])
    if kind == "starter":
        return starter(**shapes, latent_dim=LATENT)
    make, body = {"dense": (dense, {"hidden": [16, 8]}), "deep": (deep, {"width": 16, "blocks": 2})}[kind]
    return make(**shapes, latent_dim=LATENT, encoder_sees_y=encoder_sees_y, head=head, **body)


KINDS = {
    "dense": lambda: build("dense"),
    "deep": lambda: build("deep"),
    "starter": lambda: build("starter"),
    "points head": lambda: build("dense", head=PointsHead(2, 50)),
    "encoder sees x alone": lambda: build("deep", encoder_sees_y=False),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def network(request):
    return request.param()


@pytest.fixture
def batch(generator):
    return torch.rand(6, 2, 50, generator=generator), torch.rand(6, 1, 50, generator=generator)


def test_reconstructions_have_their_shapes(network, batch):
    found = network.reconstruct(*batch)
    assert found.x.shape == (6, 1, 2, 50)
    assert found.kl.shape == (6, LATENT)
    assert found.log_prior is None
    assert found.code.shape == (6, LATENT)
    assert all(part.isfinite().all() for part in (found.x, found.kl, found.code))


def test_draws_have_their_shape_and_differ(network, batch, generator):
    x = network.draw(batch[1], torch.rand(6, 5, network.noise_dim, generator=generator))
    assert x.shape == (6, 5, 2, 50)
    assert not torch.equal(x[:, 0], x[:, 1])


@torch.no_grad()
def test_a_draw_depends_on_its_own_point_and_condition_alone(network, batch, generator):
    u = torch.rand(6, 5, network.noise_dim, generator=generator)
    together = network.draw(batch[1], u)
    alone = network.draw(batch[1][2:3], u[2:3, 4:5])
    torch.testing.assert_close(alone[0, 0], together[2, 4], atol=1e-5, rtol=1e-4)


def test_every_weight_is_trained(network, batch):
    x, y = batch
    found = network.reconstruct(x, y)
    ((found.x - x[:, None]).square().sum() + found.kl.sum()).backward()
    untouched = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert untouched == []


def test_the_decoder_sees_the_condition(network, batch, generator):
    u = torch.rand(1, 5, network.noise_dim, generator=generator)
    first, second = (network.draw(batch[1][n : n + 1], u) for n in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", ["dense", "deep"])
@pytest.mark.parametrize("sees_y", [True, False])
def test_the_encoder_sees_y_as_told(kind, sees_y, batch):
    network = build(kind, encoder_sees_y=sees_y)
    x, y = batch
    first, second = (network.reconstruct(x, condition).code for condition in (y, y.flip(0)))
    assert torch.equal(first, second) is not sees_y
    other = network.reconstruct(x.flip(0), y).code
    assert not torch.equal(first, other)


@torch.no_grad()
def test_the_kl_is_that_to_the_prior(batch, generator):
    network = build()
    features = network.scaler(batch[1])
    posterior, prior = network.encoder(batch[0], features), network.prior(features)
    z = posterior.sample(20_000, generator)
    estimate = (posterior.log_prob(z) - prior.log_prob(z)).mean(1)
    torch.testing.assert_close(estimate, network.reconstruct(*batch).kl.sum(1), atol=0.02, rtol=0.05)


# --- the starter


def test_the_starter_s_layers_are_those_of_the_challenge():
    network = starter(**SHAPES, latent_dim=6)
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
    assert not list(network.scaler.parameters())


def test_the_starter_s_parameters_are_as_many_as_the_challenge_s():
    encoder = (32 * 16 * 2 + 32) + (64 * 32 * 8 + 64) + (1792 * 12 + 12)
    decoder = (56 * 1792 + 1792) + (64 * 32 * 8 + 32) + (32 * 16 * 2 + 1)
    assert sum(p.numel() for p in starter(**SHAPES, latent_dim=6).parameters()) == encoder + decoder == 158_605


def test_the_starter_s_encoder_does_not_see_y(batch):
    network = starter(**SHAPES, latent_dim=6)
    x, y = batch
    assert torch.equal(network.reconstruct(x, y).code, network.reconstruct(x, 5 * y).code)


def test_the_starter_reads_points_by_rows_and_lines_by_columns(batch):
    network = starter(**SHAPES, latent_dim=6)
    body = nn.functional.relu(nn.functional.conv2d(
        batch[0].permute(0, 2, 1)[:, None], network.encoder.body[0].weight, network.encoder.body[0].bias
    ))  # fmt: skip
    assert body.shape == (6, 32, 35, 1)
    torch.testing.assert_close(network.encoder.body[:2](batch[0].transpose(1, 2).unsqueeze(1)), body)
    body = nn.functional.relu(nn.functional.conv2d(body, *network.encoder.body[2].parameters()))
    mean = nn.functional.linear(body.flatten(1), *network.encoder.out.parameters())[:, :6]
    torch.testing.assert_close(network.encoder(*batch).mean, mean)


def test_the_starter_gives_no_negative_values(batch, generator):
    x = starter(**SHAPES, latent_dim=6).draw(batch[1], torch.rand(6, 50, 6, generator=generator))
    assert x.min() == 0
    assert x.max() > 0


@pytest.mark.parametrize(("points", "lines", "conditions"), [(23, 2, 1), (64, 3, 2)])
def test_the_starter_fits_other_sizes(points, lines, conditions, generator):
    network = starter(lines=lines, points=points, conditions=conditions, latent_dim=2)
    x, y = torch.rand(3, lines, points, generator=generator), torch.rand(3, conditions, points, generator=generator)
    assert network.reconstruct(x, y).x.shape == (3, 1, lines, points)


def test_too_few_points_for_the_starter_are_refused():
    with pytest.raises(ValueError, match=r"data\.points is 22; model=starter needs at least 23"):
        starter(lines=2, points=22, conditions=1, latent_dim=6)


# --- the scale of conditions


def numpy_scale(values):
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], method="lower")
    return middle, (high - low) / 1.349


def test_the_scale_is_median_and_interquartile_range(generator):
    scale = torch.tensor([1.0, 1e6, 1e-6]).reshape(1, 3, 1)
    y = scale * torch.randn(500, 3, 50, generator=generator) + scale
    scaler = ConditionScaler(3)
    scaler.fit(y)
    for n in range(3):
        centre, spread = numpy_scale(y[:, n].numpy().ravel().astype(float))
        assert scaler.centre[n].item() == pytest.approx(centre, rel=1e-6)
        assert scaler.scale[n].item() == pytest.approx(spread, rel=1e-6)
    expected = np.arcsinh(((y - scaler.centre) / scaler.scale).numpy()).reshape(500, 150)
    np.testing.assert_allclose(scaler(y).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_heavy_tails_leave_the_bulk_of_order_one(generator):
    uniform = torch.rand(2_000, 1, 50, generator=generator) - 0.5
    y = 1 / uniform**3
    assert y.abs().max() > 1e10
    scaler = ConditionScaler(1)
    scaler.fit(y)
    assert 0.5 < scaler(y).quantile(0.9) - scaler(y).quantile(0.1) < 10
    assert scaler(y).abs().max() < 100


@pytest.mark.parametrize("value", [0.0, 0.3, -7e5])
def test_a_constant_condition_keeps_its_unit(value, generator):
    scaler = ConditionScaler(1)
    scaler.fit(torch.full((100, 1, 50), value))
    assert scaler.centre.item() == pytest.approx(value)
    assert scaler.scale.item() == 1


def test_rounding_noise_is_no_scale(generator):
    angle = torch.rand(100, 1, 50, generator=generator)
    scaler = ConditionScaler(1)
    scaler.fit(angle.sin().square() + angle.cos().square())
    assert scaler.scale.item() == 1


def test_a_condition_that_is_mostly_constant_is_scaled_by_its_standard_deviation(generator):
    y = torch.zeros(100, 1, 50)
    y[:10] = torch.randn(10, 1, 50, generator=generator)
    scaler = ConditionScaler(1)
    scaler.fit(y)
    assert scaler.scale.item() == pytest.approx(y.numpy().std(ddof=1), rel=1e-5)


def test_the_scale_is_part_of_the_weights(batch):
    first, second = build(), build()
    first.fit_scale(*batch)
    assert not torch.equal(first.scaler.scale, second.scaler.scale)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.scaler.scale, second.scaler.scale)


# --- configs


@pytest.mark.parametrize(
    ("model", "option"),
    [("starter", "hidden=[8]"), ("dense", "width=8"), ("deep", "hidden=[8]"), ("dense", "dropout=0.1")],
)
def test_an_option_that_the_model_does_not_use_is_an_error(shipped, model, option):
    config = shipped(f"model={model}", f"+model.{option}")
    with pytest.raises(InstantiationException, match=f"unexpected keyword argument '{option.split('=')[0]}'"):
        instantiate(config.model)


@pytest.mark.parametrize("head", ["endpoints", "points"])
@pytest.mark.parametrize("model", ["dense", "deep"])
def test_every_combination_of_the_shipped_parts_builds(shipped, model, head, generator):
    network = instantiate(shipped("data=two_birds", f"model={model}", f"model/head={head}").model)
    y = torch.rand(3, 2, 50, generator=generator)
    assert network.draw(y, torch.rand(3, 4, network.noise_dim, generator=generator)).shape == (3, 4, 2, 50)


@pytest.mark.parametrize(
    ("model", "override", "message"),
    [
        ("dense", "latent_dim=0", "model.latent_dim is 0; it must be at least 1"),
        ("starter", "latent_dim=0", "model.latent_dim is 0"),
        ("dense", "hidden=[]", "model.hidden is empty"),
        ("deep", "width=0", "model.width is 0 and model.blocks is 3; both must be at least 1"),
        ("deep", "blocks=0", "model.blocks is 0"),
    ],
)
def test_senseless_sizes_are_refused(shipped, model, override, message):
    with pytest.raises(InstantiationException, match=message):
        instantiate(shipped(f"model={model}", f"model.{override}").model)
