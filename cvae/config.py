"""What configs need beside plain values, and how composed ones become plain data."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from cvae.runs.ranks import shared_name

#: runs of what the name of a folder should not hold
UNSAFE = re.compile(r"[^A-Za-z0-9=,.+-]+")
#: characters of a folder's name before its hash
LONGEST = 100


def _count(entries: Any) -> int:
    """Length of a list; 1 for anything else (a callable forward operator, whose true count is checked later)."""
    return len(entries) if isinstance(entries, list | tuple | ListConfig) else 1


def _when(decided: Any, value: Any, otherwise: Any) -> Any:
    """``value`` if ``decided`` is true; ``otherwise`` if it is false, or still ``auto``."""
    return value if decided is True else otherwise


def _unmixed(precision: Any) -> bool:
    """Whether the trainer computes in one precision; with a mixed one, Lightning refuses to clip the gradients of a
    fused optimiser."""
    return str(precision) in ("32", "64") or str(precision).endswith("-true")


def run_name(overrides: Sequence[str]) -> str:
    """A short folder name for a job of a sweep, made of its overrides.

    It depends on them alone, not on their order or on the job's place in the sweep, so that a sweep that is started
    again, or with further values, finds its jobs. What a file name should not hold is replaced; a long name starts with
    the groups that are chosen, drops what stands in front of the last dot of each key, and is cut. Such a name ends
    with a hash of the whole, so that no two jobs share one.
    """
    words = sorted(overrides)
    whole = ",".join(words) or "default"
    name = UNSAFE.sub("_", whole)
    if name == whole and len(name) <= LONGEST:
        return name
    if len(name) > LONGEST:
        words.sort(key=lambda word: "." in word.partition("=")[0])
        short = ",".join(re.sub(r"^[+~]*[^=]*[./]([^=]*=)", r"\1", word) for word in words)
        name = UNSAFE.sub("_", short)[: LONGEST + 1].rpartition(",")[0] or UNSAFE.sub("_", short)[:LONGEST]
    return f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("count", _count, replace=True)
OmegaConf.register_new_resolver("when", _when, replace=True)
OmegaConf.register_new_resolver("shared_name", shared_name, replace=True, use_cache=True)
OmegaConf.register_new_resolver("unmixed", _unmixed, replace=True)


def plain(node: Any) -> Any:
    """Resolve a config node to dicts, lists and values.

    Raises:
        omegaconf.errors.MissingMandatoryValue: for an entry that is still ``???``.
    """
    if isinstance(node, DictConfig | ListConfig):
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return node


def digest(config: Mapping[str, Any]) -> str:
    """Short hash of a plain config; tells runs of the same settings."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:16]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts to ``{"data.points": 50, ...}``; lists become text."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, bool | int | float | str) or value is None else str(value)
    return flat
