from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import distributions, nn

from cvae.errors import UserError
from cvae.networks import energy


def test_each_point_has_an_energy_of_its_own(generator: torch.Generator) -> None:
    network, x = energy([2], [8, 8]), torch.randn(3, 5, 2, generator=generator)
    found = network(x)
    assert found.shape == (3, 5)
    torch.testing.assert_close(found[1, 2], network(x[1, 2]))


def test_without_its_perceptron_it_is_the_reference_measure(generator: torch.Generator) -> None:
    network = energy([2], [8], spread=3.0)
    nn.init.zeros_(network.out.weight)
    nn.init.zeros_(network.out.bias)
    x = torch.randn(50, 2, generator=generator)
    true = -distributions.Normal(0.0, 3.0).log_prob(x).sum(-1)
    torch.testing.assert_close(network(x) - network(x[:1]), true - true[:1])


def test_the_gradient_is_smooth() -> None:
    network, along = energy([2], [16, 16]), torch.linspace(-1, 1, 2_001)
    x = torch.stack([along, along], 1).requires_grad_()
    (slope,) = torch.autograd.grad(network(x).sum(), x)
    steps = slope.diff(dim=0).abs().amax(1)
    # a kink, as ReLU has, would be one large step among small ones
    assert float(steps.max()) < 50 * float(steps.median())


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"x_shape": [2, 3]}, r"model\.x_shape is \[2, 3\]; an energy is one of points"),
        ({"spread": 0.0}, r"model\.spread is 0\.0; it must be a positive number"),
        ({"hidden": []}, r"model\.hidden is \[\]"),
    ],
)
def test_bounds(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        energy(**{"x_shape": [2], "hidden": [8]} | entries)
