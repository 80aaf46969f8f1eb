import numpy as np
import pytest
import torch
from scipy import stats

from cvae.networks import ParametersHead, ValuesHead, branches
from cvae.tasks import Lines

COMPONENTS = 6


@pytest.fixture(params=["parameters", "values"])
def network(request, generator):
    space = Lines(50, ["falling", "rising"], [0, 1])
    head = {"parameters": ParametersHead(space), "values": ValuesHead([2, 50])}[request.param]
    network = branches((2, 50), (1, 50), 2, [8], 8, components=COMPONENTS, enumerated=3, head=head)
    with torch.no_grad():
        network.logits.weight.copy_(3 * torch.randn(network.logits.weight.shape, generator=generator))
    return network


@pytest.fixture
def batch(generator):
    ends = torch.rand(4, 2, 2, generator=generator)
    t = torch.linspace(0, 1, 50)
    return ends[..., :1] * (1 - t) + ends[..., 1:] * t, torch.rand(4, 1, 50, generator=generator)


def points(count, z=0.7):
    """Even numbers that choose the component, and the same second coordinate of z for all."""
    u = torch.full((4, count, 2), z)
    u[..., 0] = (torch.arange(count) + 0.5) / count
    return u


@torch.no_grad()
def of_all_components(network, y, z):
    """Solutions of each component ``(batch, components, 2, 50)`` for one z ``(latent_dim,)``."""
    features = network.y_scaler(y)
    return network.head(network.components_of(z.expand(len(y), 1, -1), features)[:, 0]), network.log_prior(features)


@torch.no_grad()
def test_the_components_that_are_kept_are_the_nearest_of_one_sample_of_z(network, batch):
    x, y = batch
    torch.manual_seed(3)
    found = network.reconstruct(x, y)
    posterior = network.encoder(network.x_scaler(x), network.y_scaler(y))
    torch.manual_seed(3)
    z = posterior.sample(1)
    for n in range(4):
        solutions, log_prior = of_all_components(network, y[n : n + 1], z[n, 0])
        nearest = np.argsort(((solutions[0] - x[n]) ** 2).mean((1, 2)).numpy())[:3]
        torch.testing.assert_close(found.x[n], solutions[0, nearest])
        torch.testing.assert_close(found.latent.k.log_prior[n], log_prior[0, nearest])
    torch.testing.assert_close(found.code, posterior.mean)


@torch.no_grad()
def test_each_component_reads_the_same_features_and_has_a_constant_of_its_own(network, batch, generator):
    _, y = batch
    z, features = torch.randn(4, 3, 2, generator=generator), network.y_scaler(y)
    h, of_y = (part.numpy() for part in network.layers.features(z, features))
    slopes, offsets = network.solutions.weight.numpy(), network.solutions.bias.numpy()
    constants = of_y @ network.constants.weight.numpy().T + network.constants.bias.numpy()
    raw, outputs = network.components_of(z, features).numpy(), network.head.outputs
    for k in range(COMPONENTS):
        rows = slice(k * outputs, (k + 1) * outputs)
        np.testing.assert_allclose(
            raw[:, :, k], h @ slopes[rows].T + offsets[rows] + constants[:, None, rows], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@torch.no_grad()
def test_the_first_number_chooses_a_component_and_a_place_along_it(network, batch, temperature):
    _, y = batch
    u = points(2_000, z=0.9)
    x = network.draw(y, u, temperature)
    for n in range(4):
        _, log_prior = of_all_components(network, y[n : n + 1], torch.zeros(2))
        p = (log_prior[0].double() / temperature).softmax(0).numpy()
        order = np.argsort(-p)
        ends = np.cumsum(p[order])
        rank = np.searchsorted(ends, u[n, :, 0].numpy())
        place = (u[n, :, 0].numpy() - ends[rank] + p[order][rank]) / p[order][rank]
        z = temperature * stats.norm.ppf(np.stack([place, np.full(2_000, 0.9)], axis=1))
        raw = network.components_of(torch.tensor(z[None], dtype=torch.float32), network.y_scaler(y[n : n + 1]))
        torch.testing.assert_close(x[n], network.head(raw[0, np.arange(2_000), order[rank]]), atol=1e-3, rtol=0)
        np.testing.assert_allclose(np.bincount(order[rank], minlength=COMPONENTS) / 2_000, p, atol=1e-3)
        if temperature == 1:
            expected = log_prior[0, order[rank]]
            torch.testing.assert_close(network.log_choice(y[n : n + 1], u[n : n + 1])[0], expected)


@torch.no_grad()
def test_draws_of_one_component_differ_by_each_coordinate_of_z(network, batch):
    _, y = batch
    for coordinate in range(2):
        network.logits.weight.zero_()
        network.logits.bias.copy_(torch.tensor([0.0, *[-99.0] * (COMPONENTS - 1)]))
        u = torch.full((4, 20, 2), 0.5)
        u[..., coordinate] = torch.linspace(0.05, 0.95, 20)
        x = network.draw(y, u).flatten(2)
        assert (x.diff(dim=1).abs().amax(-1) > 1e-4).all()


@torch.no_grad()
def test_a_point_at_the_end_of_the_interval_is_a_draw(network, batch):
    assert network.draw(batch[1], torch.ones(4, 1, 2)).isfinite().all()


@torch.no_grad()
def test_separate_branches_are_information_though_z_is_none():
    """Each sample has a branch of its own, chosen from its x, while the posterior of z is the prior."""
    network = branches((1,), (0,), 1, [8], 8, components=5, enumerated=1, head=ValuesHead([1]))
    network.encoder.out.weight.zero_()
    network.encoder.out.bias.zero_()
    network.solutions.weight.zero_()
    network.solutions.bias.copy_(torch.arange(5.0))
    x = torch.arange(5.0).repeat(40).unsqueeze(1)
    assert network.information(x, torch.empty(200, 0)).item() == pytest.approx(np.log(5), abs=1e-5)


@pytest.mark.parametrize(
    ("latent_dim", "components", "enumerated", "message"),
    [
        (0, 4, 2, "model.latent_dim is 0; it must be at least 1"),
        (2, 1, 1, "model.components is 1; it must be at least 2"),
        (2, 4, 5, "model.enumerated is 5; it must be between 1 and model.components"),
    ],
)
def test_senseless_sizes_are_refused(latent_dim, components, enumerated, message):
    with pytest.raises(ValueError, match=message):
        branches((2, 50), (1, 50), latent_dim, [8], 8, components, enumerated, ValuesHead([2, 50]))
