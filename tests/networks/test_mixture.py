import numpy as np
import pytest
import torch

from cvae.networks import ParametersHead, ValuesHead, mixture
from cvae.tasks import Lines


@pytest.fixture(params=["parameters", "values"])
def network(request, generator):
    space = Lines(50, ["falling", "rising"], [0, 1])
    head = {"parameters": ParametersHead(space), "values": ValuesHead([2, 50])}[request.param]
    network = mixture((1, 50), components=6, enumerated=3, width=8, blocks=1, head=head)
    with torch.no_grad():
        network.logits.weight.copy_(torch.randn(network.logits.weight.shape, generator=generator))
    return network


@pytest.fixture
def batch(generator):
    ends = torch.rand(4, 2, 2, generator=generator)
    t = torch.linspace(0, 1, 50)
    return ends[..., :1] * (1 - t) + ends[..., 1:] * t, torch.rand(4, 1, 50, generator=generator)


@torch.no_grad()
def test_the_components_that_are_kept_are_the_nearest(network, batch):
    x, y = batch
    raw, log_prior = network.components_of(y)
    found = network.reconstruct(x, y)
    for n in range(4):
        solutions = network.head(raw[n])
        distances = ((solutions - x[n]) ** 2).mean((1, 2)).numpy()
        nearest = np.argsort(distances)[:3]
        torch.testing.assert_close(found.x[n], solutions[nearest])
        torch.testing.assert_close(found.latent.log_prior[n], log_prior[n, nearest])
        assert found.code[n].tolist() == [float(k == nearest[0]) for k in range(6)]


@torch.no_grad()
def test_even_points_hit_each_component_as_often_as_its_probability_says(network, batch):
    _, y = batch
    raw, log_prior = network.components_of(y)
    u = ((torch.arange(10_000) + 0.5) / 10_000).reshape(1, -1, 1).expand(4, -1, 1)
    x = network.draw(y, u)
    for n in range(4):
        solutions = network.head(raw[n])
        distance, component = (x[n][:, None] - solutions).abs().flatten(2).amax(-1).min(1)
        assert distance.max() < 1e-5
        shares = component.bincount(minlength=6) / 10_000
        torch.testing.assert_close(shares, log_prior[n].exp(), atol=2e-4, rtol=0)


@torch.no_grad()
def test_the_temperature_flattens_the_probabilities(network, batch):
    _, y = batch
    _, log_prior = network.components_of(y)
    u = ((torch.arange(10_000) + 0.5) / 10_000).reshape(1, -1, 1).expand(4, -1, 1)
    for temperature in (0.5, 3.0):
        x = network.draw(y, u, temperature)
        expected = (log_prior / temperature).softmax(1).sort(dim=1, descending=True).values
        for n in range(4):
            _, counts = x[n].flatten(1).round(decimals=4).unique(dim=0, return_counts=True)
            torch.testing.assert_close(counts.sort(descending=True).values / 10_000, expected[n], atol=2e-4, rtol=0)


@torch.no_grad()
def test_a_point_at_the_end_of_the_interval_is_a_draw(network, batch):
    assert network.draw(batch[1], torch.ones(4, 1, 1)).isfinite().all()


@pytest.mark.parametrize(
    ("components", "enumerated", "message"),
    [
        (1, 1, "model.components is 1; it must be at least 2"),
        (4, 5, "model.enumerated is 5; it must be between 1 and model.components"),
        (4, 0, "model.enumerated is 0"),
    ],
)
def test_senseless_numbers_of_components_are_refused(components, enumerated, message):
    with pytest.raises(ValueError, match=message):
        mixture((1, 50), components, enumerated, width=8, blocks=1, head=ValuesHead([2, 50]))
