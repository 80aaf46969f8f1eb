import numpy as np
import pytest
import torch

from cvae.metrics import ActiveUnits, active_units
from cvae.networks import ParametersHead, mixture
from cvae.tasks import Lines


@pytest.fixture
def means(generator):
    """Posterior means whose dimensions vary by 2, 0.3, 0.11, 0.09 and 0, the last far from the origin."""
    scale = torch.tensor([2.0, 0.3, 0.11, 0.09, 0.0])
    noise = torch.randn(1_000, 5, generator=generator)
    noise = (noise - noise.mean(0)) / noise.std(0, correction=0)
    return scale * noise + torch.tensor([0.0, 5.0, 0.0, 0.0, 100.0])


def test_units_are_active_above_a_variance_of_a_hundredth(means):
    assert means.numpy().var(axis=0) == pytest.approx([4, 0.09, 0.0121, 0.0081, 0], abs=1e-4)
    assert active_units(means) == np.sum(means.numpy().var(axis=0) > 0.01) == 3
    assert active_units(means, threshold=1.0) == 1


def test_a_collapsed_posterior_has_no_active_unit(generator):
    assert active_units(1e-3 * torch.randn(100, 4, generator=generator)) == 0


@pytest.mark.parametrize("sizes", [[1_000], [999, 1], [250] * 4])
def test_accumulation_over_batches_is_exact(means, sizes):
    metric = ActiveUnits(5)
    # sorted, so that the units hardly vary within a batch
    for batch in means.sort(0).values.split(sizes):
        metric.update(batch)
    assert metric.compute() == 3


def test_nothing_is_active_before_any_update():
    metric = ActiveUnits(3)
    metric.update(torch.zeros(0, 3))
    assert metric.compute() == 0


def test_a_reset_forgets(means):
    metric = ActiveUnits(5)
    metric.update(means)
    metric.reset()
    metric.update(means[:1])
    assert metric.compute() == 0


def test_evenly_used_components_of_a_categorical_latent_are_all_active():
    network = mixture(
        y_shape=(1, 50), components=256, enumerated=4, width=8, blocks=1,
        head=ParametersHead(Lines(50, ["falling", "rising"])),
    )  # fmt: skip
    metric = ActiveUnits(network.latent_dim, network.active_variance)
    # every component once, then one of them alone
    metric.update(torch.eye(256))
    assert metric.compute() == 256
    metric.reset()
    metric.update(torch.eye(256)[:1].expand(100, -1))
    assert metric.compute() == 0
