"""What the command lines of the challenge share: options that must be given, problems and plans."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from cvae.config import plain
from cvae.errors import clear_errors
from cvae.generation import Plan
from cvae.problems import Problem

__all__ = ["clear_errors", "plan_from_config", "problem_from_config", "require"]

PROBLEM = ("points", "directions", "range", "forward", "gates")


def require(cfg: DictConfig, *names: str) -> None:
    """Check that options without a default were given, and that the others are of their kind.

    Raises:
        ValueError: naming the first that is not.
    """
    for name in names:
        if OmegaConf.is_missing(cfg, name):
            raise ValueError(f"{name} is missing; add {name}=... to the command line.")
    for name in ("draws", "seed"):
        value = cfg.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}; it must be a whole number.")
    if isinstance(cfg.get("allow"), str):
        raise ValueError(f"allow is {cfg.allow!r}; it must be a list, allow=[{cfg.allow}].")


def problem_from_config(data: DictConfig) -> Problem:
    """The problem of a config group ``data``, without its data.

    Raises:
        ValueError: for values that make no sense.
    """
    values: dict[str, Any] = {name: plain(data[name]) for name in PROBLEM}
    return Problem.from_config(**values)


def plan_from_config(generation: DictConfig) -> Plan:
    """How solutions are generated, from the config group ``generation``.

    Raises:
        ValueError: for values that make no sense.
    """
    values: dict[str, Any] = plain(generation)
    if values.pop("draws", None) is not None:
        raise ValueError("generation.draws cannot be set here; the checkpoint knows which points draws start from.")
    return Plan(**values)
