"""The task of light curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from cvae.errors import UserError
from cvae.models.checkpoints import check_config
from cvae.networks import ValuesHead, dense
from cvae.tasks import GenerationTask, LightCurves
from cvae.tasks.light_curves import neighbour_order, projected


def test_the_task_is_built_again_from_its_config() -> None:
    task = LightCurves(64, [0.1, 1.0])
    check_config(task.config)
    again = instantiate(task.config)
    assert isinstance(again, GenerationTask)
    assert again.x_shape == (64,)
    assert again.config == task.config


def test_conditions_are_logarithms_of_source_radii() -> None:
    torch.testing.assert_close(LightCurves().conditions([0.1, 1, 5]), torch.tensor([[-1.0], [0.0], [math.log10(5)]]))


@pytest.mark.parametrize("values", [[], [0.0], [-1.0], [math.nan], [0.1, math.inf]])
def test_what_is_no_source_radius_is_an_error(values: list[float]) -> None:
    with pytest.raises(UserError, match="condition"):
        LightCurves().conditions(values)


@pytest.mark.parametrize("arguments", [{"points": 4}, {"radii": [1.0, 0.1]}, {"radii": [0.0, 1.0]}, {"radii": [0.1]}])
def test_arguments_that_make_no_sense_are_errors(arguments: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"data\."):
        LightCurves(**arguments)


def test_the_picture_marks_what_is_extrapolated() -> None:
    task = LightCurves(16, [0.1, 1.0])
    y = task.conditions([0.01, 0.1, 0.3, 1.0, 5.0])
    figure = task.figures(task.drawn(torch.arange(5), torch.randn(5, 3, 16), y))["curves"]
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert [title.endswith("extrapolated") for title in titles] == [True, False, False, False, True]


def test_the_order_of_a_projection_is_told_from_none() -> None:
    y = torch.rand(300, generator=torch.Generator().manual_seed(0))
    ordered = np.stack([y.numpy(), np.zeros(300)], axis=1)
    found, shuffled = neighbour_order(ordered, y)
    assert found > 0.95
    assert abs(shuffled) < 0.2
    mixed, _ = neighbour_order(np.random.default_rng(0).normal(size=(300, 2)), y)
    assert abs(mixed) < 0.2


def test_tsne_keeps_two_groups_apart() -> None:
    groups = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    groups[20:] += 30
    places = projected(groups, "tsne")
    assert places.shape == (40, 2)
    nearest = torch.cdist(*[torch.from_numpy(places)] * 2).fill_diagonal_(torch.inf).argmin(1)
    assert bool(((nearest < 20) == (torch.arange(40) < 20)).all())


def test_the_network_is_the_one_that_was_specified() -> None:
    network = dense([128], [1], 32, [128], True, ValuesHead([128]), repeat_y=32)
    shapes = [tuple(weight.shape) for name, weight in network.named_parameters() if name.endswith("weight")]
    # encoder: curve and condition to 128 to mean and log-variance; decoder: latent and condition to 128 to the curve
    assert shapes == [(128, 128 + 32), (64, 128), (128, 32 + 32), (128, 128)]
    features = network.y_scaler(torch.tensor([[0.3]]))
    assert features.shape == (1, 32)
    assert bool((features == features[0, 0]).all())
