"""Functions from configs."""

from __future__ import annotations

import functools

import pytest
from hydra.utils import instantiate

from cvae import losses, schedules
from cvae.partials import plain_call


def test_a_partial_of_hydra_becomes_the_function_itself() -> None:
    assert plain_call(instantiate({"_target_": "cvae.losses.mse", "_partial_": True})) is losses.mse


def test_the_values_of_a_partial_are_kept() -> None:
    made = instantiate({"_target_": "cvae.schedules.cosine", "_partial_": True, "warmup": 0.1, "floor": 0.2})
    found = plain_call(made)
    assert type(found) is functools.partial
    assert [found(share) for share in (0.0, 0.05, 0.5, 1.0)] == [
        schedules.cosine(share, warmup=0.1, floor=0.2) for share in (0.0, 0.05, 0.5, 1.0)
    ]


def test_anything_else_is_left_alone() -> None:
    assert plain_call(schedules.constant) is schedules.constant


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_the_shipped_losses_and_schedules_are_called_without_detours(shipped, loss: str) -> None:
    from cvae.training import build

    _, model = build(shipped(f"loss={loss}", "recipe.separate=false", "recipe.y_term=true"))
    assert type(model.objective.elementwise).__module__ in ("builtins", "functools")
    assert type(model.schedule).__module__ in ("builtins", "functools")
