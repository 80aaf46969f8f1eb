"""What the command lines share: options that must be given, and errors as one message."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cvae.config import plain
from cvae.generation import Plan
from cvae.problems import Problem

PROBLEM = ("points", "directions", "range", "forward", "gates")


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show what a user can mend as one message on stderr, and end with status 1.

    ``HYDRA_FULL_ERROR=1`` shows the traceback instead.
    """
    try:
        yield
    except (ValueError, OSError, OmegaConfBaseException) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


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
