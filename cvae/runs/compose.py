"""The shipped configs composed from Python, whatever Hydra does elsewhere in the process."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, open_dict

from cvae.config import config_folder
from cvae.errors import UserError
from cvae.runs.names import check_choices

#: text that Hydra reads as it stands, and as text
WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z_/][\w./-]*", re.ASCII | re.IGNORECASE)


def compose(name: str, words: Sequence[str]) -> DictConfig:
    """A main config with overrides, as on its command line.

    A Hydra application that is running, or a session that has initialised Hydra itself, is left as it was.

    Args:
        name: of the file in ``conf``.
        words: the overrides; ``hydra.searchpath=[file:///absolute/folder]`` adds configs of your own.

    Raises:
        UserError: for an override of nothing, or one that cannot be read.
    """
    check_choices(words)
    version, present = VersionBase.instance(), GlobalHydra.instance()
    base, running = version.version_base, present.hydra
    present.clear()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            cfg = hydra.compose(name, list(words), return_hydra_config=True)
            take_choices(cfg)
            return cfg
    except HydraException as error:
        raise UserError(f"overrides: {error}") from error
    finally:
        GlobalHydra.instance().hydra = running
        version.version_base = base


def take_choices(cfg: DictConfig) -> dict[str, str]:
    """Take Hydra's own config out of ``cfg``, and give the chosen members of groups, also to its entry ``choices``."""
    with open_dict(cfg):
        chosen = dict(cfg.pop("hydra").runtime.choices)
    if "choices" in cfg:
        cfg.choices = {group: chosen.get(group) for group in cfg.choices}
    return chosen


def words_of(overrides: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Overrides as words of a command line.

    Args:
        overrides: such words, or Python values by the names of their entries: ``{"data": "lines", "data.forward":
            ["x0 / (x1 + 0.5)"], "+model.hidden": [64, 64]}``. A function stands for its dotted name.

    Raises:
        UserError: for a value that a config cannot hold.
    """
    if not isinstance(overrides, Mapping):
        words = list(overrides) if isinstance(overrides, list | tuple) else []
        if not isinstance(overrides, list | tuple) or not all(isinstance(word, str) for word in words):
            raise UserError(f"overrides is {overrides!r}; it must be a list of texts or a mapping, ['data=product'].")
        return words
    return [f"{name}={_text(value, name)}" for name, value in overrides.items()]


def _text(value: Any, where: str) -> str:
    """A Python value in the grammar of Hydra's overrides."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        if WORD.fullmatch(str(value)):
            return str(value)
        return str(QuotedString(str(value), Quote.single).with_quotes())
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(entry, f'{where}.{key}')}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(entry, where) for entry in value) + "]"
    if callable(value):
        return _text({"_target_": _name(value, where)}, where)
    raise UserError(f"{where} is a {type(value).__name__}; it must be a number, text, list, mapping or function.")


def _name(function: Callable[..., Any], where: str) -> str:
    """The dotted name of a function.

    Raises:
        UserError: for one that another process could not import.
    """
    module, name = getattr(function, "__module__", "__main__"), getattr(function, "__qualname__", "<none>")
    if module == "__main__" or "<" in name:
        raise UserError(
            f"{where} is {name}, which other processes cannot import; put it into a file, my_functions.py, and import "
            "it from there."
        )
    return f"{module}.{name}"
