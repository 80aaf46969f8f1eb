"""Hydra overrides as data: what the user fixes for all trials, and the overrides of a trial as an experiment file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

#: set by the search itself, or nothing that an experiment file can hold
RESERVED = {
    "optimized_metric": "set search.keep",
    "optimized_mode": "it follows from the measure",
    "run_dir": "each trial has its own folder",
    "experiment": "an experiment file cannot stand within the one that a search writes; name what it sets",
    "debug": "a search is not for finding mistakes",
}


def spelled(value: Any) -> str:
    """How a value is written in an override."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(spelled(item) for item in value)}]"
    return str(value)


def read_overrides(overrides: Any) -> list[Override]:
    """Parse overrides of the training config.

    Raises:
        ValueError: for what cannot be parsed, or makes no sense for all trials of a search.
    """
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise ValueError(
            f"overrides is {overrides!r}; it must be a list of texts, \"overrides=['data=product','seed=1']\"."
        )
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ValueError(f"overrides: {error}") from error
    for override in parsed:
        name, written = override.key_or_group, override.input_line
        if override.is_delete():
            raise ValueError(f"overrides holds {written}; an experiment file cannot delete, set it to null.")
        if override.is_sweep_override():
            raise ValueError(f"overrides holds {written}, a sweep; all trials must share one value.")
        if override.package is not None or name.startswith("hydra"):
            raise ValueError(f"overrides holds {written}; it may hold plain overrides of the training config only.")
        if name in RESERVED:
            raise ValueError(f"overrides holds {written}; {RESERVED[name]}.")
    return parsed


def is_group(name: str) -> bool:
    """Whether an override of ``name`` chooses a member of a config group."""
    loader = GlobalHydra.instance().config_loader()
    return bool(loader.get_group_options(name))


def experiment(overrides: Sequence[str], comment: str) -> str:
    """An experiment file, as Hydra reads it from ``conf/experiment``, that does what ``overrides`` do.

    Args:
        overrides: as :func:`read_overrides` accepts them.
        comment: goes on top.
    """
    groups: list[dict[str, Any]] = []
    values: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        name = override.key_or_group
        if is_group(name):
            # the last one of a group counts, as on the command line
            groups = [group for group in groups if f"override /{name}" not in group]
            groups.append({f"override /{name}": override.value()})
        else:
            *parents, last = name.split(".")
            node = values
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = override.value()
    content = ({"defaults": groups} if groups else {}) | values
    lines = [f"# {line}" for line in comment.splitlines()]
    return "\n".join(["# @package _global_", *lines, yaml.safe_dump(_plain(content), sort_keys=False)])


def _plain(value: Any) -> Any:
    """Copy in which Hydra's quoted strings are plain ones."""
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(getattr(value, "text", value))
