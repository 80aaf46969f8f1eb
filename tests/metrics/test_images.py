import pytest
import torch
from scipy.spatial import distance

from cvae.metrics import Drawn
from cvae.metrics.images import Recognised, diversity, mean_distance, nearest_distance


def test_distances_agree_with_scipy(generator):
    x, known = (torch.rand(count, 4, 4, generator=generator) for count in (450, 30))
    assert float(mean_distance(x)) == pytest.approx(distance.pdist(x.flatten(1)).mean(), rel=1e-5)
    expected = distance.cdist(x.flatten(1), known.flatten(1)).min(1)
    assert nearest_distance(x, known).numpy() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 2.0])
def test_diversity_is_the_ratio_of_spreads(generator, spread):
    labels = torch.arange(400) % 2
    real = torch.randn(400, 9, generator=generator) + 100 * labels.unsqueeze(1)
    draws = spread * torch.randn(2, 200, 9, generator=generator)
    assert diversity(draws, real, labels).tolist() == pytest.approx([spread, spread], abs=0.1)


def test_recognised_is_the_share_of_draws_of_the_right_class():
    metric = Recognised(lambda x: x[:, 0, 0].long())
    x = torch.tensor([[1.0, 1.0, 0.0, 2.0], [2.0, 2.0, 2.0, 2.0]]).view(2, 4, 1, 1)
    y = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    metric.update(Drawn(torch.arange(2), x, y))
    assert metric.compute() == pytest.approx((0.5 + 1) / 2)
