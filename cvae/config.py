"""Composed configs as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf


def config_folder() -> Path:
    """The folder of the configs: inside the package where that comes from a wheel, beside it in a source tree."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


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
