"""Settled configs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from cvae.runs.settle import settle

Shipped = Callable[..., DictConfig]


@pytest.fixture(autouse=True)
def quick(looked_at_once: None) -> None:
    """In this folder nothing but time depends on it."""


@pytest.fixture
def settled(shipped: Shipped) -> Shipped:
    """Composes the shipped config, made small, with further overrides, and settles it."""
    return lambda *overrides, **options: settle(shipped(*overrides, **options))
