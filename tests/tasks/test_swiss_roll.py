from __future__ import annotations

import math

import pytest
import torch
from hydra.utils import instantiate

from cvae.errors import UserError
from cvae.models.checkpoints import check_config
from cvae.tasks import GenerationTask, SwissRoll


def test_points_lie_along_the_spiral_with_the_noise(generator: torch.Generator) -> None:
    x = SwissRoll(noise=0.5).sample(20_000, generator)
    # the curve (t cos t, t sin t) / 5 with t uniform from 1.5 pi to 4.5 pi
    t = torch.linspace(1.5 * math.pi, 4.5 * math.pi, 2_000)
    curve = torch.stack([t * t.cos(), t * t.sin()], 1) / 5
    distances, nearest = torch.cdist(x, curve).min(1)
    assert float(distances.square().mean().sqrt()) == pytest.approx(0.1, rel=0.05)
    shares = torch.histc(t[nearest], 10) / len(x)
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.015, rtol=0)
    assert float(x.abs().max()) < 3.5


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_density_integrates_to_one_and_is_that_of_the_points(noise: float, generator: torch.Generator) -> None:
    task, places = SwissRoll(noise), torch.linspace(-5, 5, 251)
    grid = torch.cartesian_prod(places, places)
    density = torch.cat([task.log_prob(part).exp() for part in grid.split(10_000)])
    assert float(density.sum()) * 0.04**2 == pytest.approx(1, abs=1e-3)
    # the share of points in a part of the plane
    x = task.sample(20_000, generator)
    for part in (lambda x: x[:, 0] > 1, lambda x: x.norm(dim=1) < 1.5, lambda x: x[:, 1] < -2):
        share = float(density[part(grid)].sum()) * 0.04**2
        assert float(part(x).float().mean()) == pytest.approx(share, abs=0.02)


def test_the_generator_fixes_the_points() -> None:
    first, same, other = (SwissRoll().sample(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_config_gives_the_same_task_and_is_plain() -> None:
    task = SwissRoll(0.7)
    check_config(task.config)
    assert instantiate(task.config) == task


def test_nothing_is_given() -> None:
    task = SwissRoll()
    assert isinstance(task, GenerationTask)
    assert task.conditions([]).shape == (1, *task.y_shape)
    with pytest.raises(UserError, match="has no condition"):
        task.conditions([0.5])


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan])
def test_bounds(noise: float) -> None:
    with pytest.raises(UserError, match=r"data\.noise is .*; it must be a positive number"):
        SwissRoll(noise)


def test_figure_shows_roll_and_draws() -> None:
    task = SwissRoll()
    x = torch.randn(1, 40, 2)
    x[0, 0] = math.nan
    (figure,) = task.figures(task.drawn(torch.arange(1), x, torch.empty(1, 0))).values()
    assert [axis.get_title() for axis in figure.axes] == ["swiss roll", "draws"]
