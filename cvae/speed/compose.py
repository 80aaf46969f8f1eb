"""Composed configs of short trainings."""

from __future__ import annotations

from collections.abc import Callable

from omegaconf import DictConfig

#: the training config from a list of overrides
Compose = Callable[[list[str]], DictConfig]

#: everything is logged, but there is little to validate
LITTLE_VALIDATION = (
    "data.source.validation=64",
    "data.evaluation.validation=4",
    "data.evaluation.references=0",
    "test=false",
)


def model_overrides(model: str) -> list[str]:
    """Overrides that choose a model, without the look at the problem that would choose settings of another."""
    if model == "starter":
        return ["experiment=starter"]
    separate = "true" if model == "mixture" else "false"
    return [f"model={model}", f"recipe.separate={separate}", "recipe.y_term=true"]


def training_overrides(model: str, batch_size: int, samples: int) -> list[str]:
    """Overrides for a short training."""
    sizes = [f"data.batch_size={batch_size}", f"data.source.train={samples}"]
    return [*model_overrides(model), *sizes, *LITTLE_VALIDATION]
