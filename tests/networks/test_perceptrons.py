import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from cvae.networks import ParametersHead, ValuesHead, branches, deep, dense, film, mixture, starter
from cvae.runs.settle import settle
from cvae.tasks import Box, Lines

LATENT = 3
LINES = Lines(50, ["falling", "rising"], [0, 1])


def build(kind="dense", encoder_sees_y=True, head=None, x_shape=(2, 50), y_shape=(1, 50)):
    if kind == "starter":
        return starter(x_shape, y_shape, latent_dim=LATENT)
    head = head or ParametersHead(LINES)
    if kind == "film":
        return film(x_shape, y_shape, latent_dim=LATENT, hidden=[16, 8], width=8, head=head)
    make, body = {"dense": (dense, {"hidden": [16, 8]}), "deep": (deep, {"width": 16, "blocks": 2})}[kind]
    return make(x_shape, y_shape, latent_dim=LATENT, encoder_sees_y=encoder_sees_y, head=head, **body)


KINDS = {
    "dense": lambda: build("dense"),
    "deep": lambda: build("deep"),
    "film": lambda: build("film"),
    "starter": lambda: build("starter"),
    "values head": lambda: build("dense", head=ValuesHead([2, 50])),
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
    assert found.latent.posterior.mean.shape == found.latent.prior.log_var.shape == (6, LATENT)
    assert found.code.shape == (6, LATENT)
    assert all(part.isfinite().all() for part in (found.x, *found.latent.posterior, found.code))


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
    cost = (found.x - x[:, None]).square().flatten(2).sum(2)
    found.latent.bound(cost, beta=1.0).total.sum().backward()
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
    features = network.y_scaler(batch[1])
    posterior, prior = network.encoder(batch[0], features), network.prior(features)
    z = posterior.sample(20_000, generator)
    estimate = (posterior.log_prob(z) - prior.log_prob(z)).mean(1)
    kl = network.reconstruct(*batch).latent.bound(torch.zeros(6, 1), beta=1.0).kl
    torch.testing.assert_close(estimate, kl, atol=0.02, rtol=0.05)


def test_the_scales_are_part_of_the_weights(batch):
    first, second = build(), build()
    first.fit_scale(*batch)
    for name in ("x_scaler", "y_scaler"):
        assert not torch.equal(getattr(first, name).scale, getattr(second, name).scale)
    second.load_state_dict(first.state_dict())
    for name in ("x_scaler", "y_scaler"):
        assert torch.equal(getattr(first, name).scale, getattr(second, name).scale)
        assert torch.equal(getattr(first, name).centre, getattr(second, name).centre)


@torch.no_grad()
def test_scaled_data_are_seen_alike_in_any_unit(batch):
    x, y = batch
    first = build(head=ValuesHead([2, 50]))
    second = build(head=ValuesHead([2, 50]))
    second.load_state_dict(first.state_dict())
    first.fit_scale(x, y)
    second.fit_scale(1000 * x - 5, 1e-3 * y + 2)
    torch.testing.assert_close(
        second.reconstruct(1000 * x - 5, 1e-3 * y + 2).code, first.reconstruct(x, y).code, rtol=1e-2, atol=2e-3
    )


# --- shapes of solutions and conditions


@pytest.mark.parametrize("x_shape", [(3,), (2, 50), (1, 8, 8)])
@pytest.mark.parametrize("y_shape", [(0,), (10,), (1,), (3,), (2, 50)])
@pytest.mark.parametrize("kind", ["dense", "deep", "film", "mixture", "branches"])
def test_networks_take_solutions_and_conditions_of_any_shape(kind, x_shape, y_shape, generator):
    head = ValuesHead(x_shape)
    if kind == "mixture":
        network = mixture(y_shape, components=5, enumerated=2, width=8, blocks=1, head=head)
    elif kind == "branches":
        network = branches(x_shape, y_shape, 2, [8], 8, components=5, enumerated=2, head=head)
    else:
        network = build(kind, head=head, x_shape=x_shape, y_shape=y_shape)
    x = torch.rand(7, *x_shape, generator=generator)
    y = torch.rand(7, *y_shape, generator=generator)
    if y_shape == (10,):
        y = torch.nn.functional.one_hot(torch.arange(7) % 10, 10).float()
    network.fit_scale(x, y)
    found = network.reconstruct(x, y)
    assert found.x.shape == (7, 2 if kind in ("mixture", "branches") else 1, *x_shape)
    drawn = network.draw(y, torch.rand(7, 4, network.noise_dim, generator=generator))
    assert drawn.shape == (7, 4, *x_shape)
    assert found.x.isfinite().all()
    assert drawn.isfinite().all()


def test_without_a_condition_all_draws_come_from_one_distribution(generator):
    network = build(head=ValuesHead([3]), x_shape=(3,), y_shape=(0,))
    u = torch.rand(1, 4, LATENT, generator=generator).expand(2, -1, -1)
    x = network.draw(torch.zeros(2, 0), u)
    assert torch.equal(x[0], x[1])
    assert network.encoder.trunk[0].in_features == 3


def test_vectors_of_the_parameters_head_are_in_their_box(generator):
    bounds = [[-1, 1], [10, 20], [0, 1e-3]]
    network = build("deep", head=ParametersHead(Box(bounds)), x_shape=(3,), y_shape=(2,))
    x = network.draw(torch.randn(20, 2, generator=generator), torch.rand(20, 30, LATENT, generator=generator))
    low, high = torch.tensor(bounds).T
    assert ((x >= low) & (x <= high)).all()


# --- configs


@pytest.mark.parametrize(
    ("model", "option"),
    [
        ("starter", "hidden=[8]"),
        ("dense", "width=8"),
        ("deep", "hidden=[8]"),
        ("film", "blocks=3"),
        ("dense", "dropout=0.1"),
    ],
)
def test_an_option_that_the_model_does_not_use_is_an_error(shipped, model, option):
    with pytest.raises(ValueError, match=rf"model\.{option.split('=')[0]}"):
        settle(shipped(f"model={model}", f"+model.{option}"))


@pytest.mark.parametrize("head", ["parameters", "values"])
@pytest.mark.parametrize("model", ["dense", "deep", "film"])
def test_every_combination_of_the_shipped_parts_builds(shipped, model, head, generator):
    config = settle(shipped("data=two_birds", f"model={model}", f"model/head={head}"))
    network = instantiate(config.model, _convert_="all")
    y = torch.rand(3, 2, 50, generator=generator)
    assert network.draw(y, torch.rand(3, 4, network.noise_dim, generator=generator)).shape == (3, 4, 2, 50)


@pytest.mark.parametrize(
    ("model", "override", "message"),
    [
        ("dense", "latent_dim=0", "model.latent_dim is 0; it must be at least 1"),
        ("starter", "latent_dim=0", "model.latent_dim is 0"),
        ("dense", "hidden=[]", r"model.hidden is \[\]; give layer sizes of at least 1"),
        ("dense", "hidden=[8,0]", r"model.hidden is \[8, 0\]"),
        ("deep", "width=0", "model.width is 0 and model.blocks is 3; both must be at least 1"),
        ("deep", "blocks=0", "model.width is 256 and model.blocks is 0"),
        ("film", "latent_dim=0", "model.latent_dim is 0; it must be at least 1"),
        ("film", "width=0", "model.width is 0; it must be at least 1"),
        ("film", "layers=0", "model.layers is 0; it must be at least 1"),
        ("film", "frequencies=-1", "model.frequencies is -1; it must be at least 0"),
    ],
)
def test_senseless_sizes_are_refused(shipped, model, override, message):
    config = settle(shipped(f"model={model}", f"model.{override}"))
    with pytest.raises(InstantiationException, match=message):
        instantiate(config.model, _convert_="all")
