from __future__ import annotations

import torch

from cvae.metrics import Drawn, Outside, WeightError, outside, weight_error
from cvae.tasks import GaussianMixture, Mixture

UNIT = Mixture(torch.tensor([0.25, 0.75]), torch.tensor([[0.0, 0, 0], [10.0, 0, 0]]), torch.eye(3).expand(2, 3, 3))


def test_no_weight_error_for_draws_of_the_mixture(generator: torch.Generator) -> None:
    density = GaussianMixture(components=4, separation=1.0).density
    x = density.sample(50_000, generator).unsqueeze(0)
    assert weight_error(density.log_joint(x), density.weights).item() < 0.006


def test_weight_error_of_a_lost_component_is_its_weight() -> None:
    x = torch.zeros(1, 5, 3)
    torch.testing.assert_close(weight_error(UNIT.log_joint(x), UNIT.weights), torch.tensor([0.75]))


def test_a_thousandth_of_a_gaussian_lies_outside(generator: torch.Generator) -> None:
    x = UNIT.sample(200_000, generator).unsqueeze(0)
    assert 0.0008 < outside(UNIT.distances(x), 3).item() < 0.0012


def test_a_bridge_lies_outside() -> None:
    x = torch.tensor([[[5.0, 0, 0], [0.0, 0, 0], [10.0, 1, 0], [0.0, 4.1, 0]]])
    assert outside(UNIT.distances(x), 3).item() == 0.5


def test_measures_are_means_over_conditions() -> None:
    x = torch.tensor([[[5.0, 0, 0]], [[0.0, 0, 0]]])
    drawn = Drawn(torch.arange(2), x, torch.empty(2, 0))
    error, beyond = WeightError(UNIT.log_joint, UNIT.weights), Outside(UNIT.distances)
    error.update(drawn)
    beyond.update(drawn)
    assert beyond.compute().item() == 0.5
    expected = weight_error(UNIT.log_joint(x), UNIT.weights).mean()
    torch.testing.assert_close(error.compute(), expected)
