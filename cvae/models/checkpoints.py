"""Checkpoints as plain data: what is stored, and how it becomes a model again without running foreign code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from cvae.errors import MissingFileError, UserError

FORMAT = 3
KEY = "cvae"

#: everything that a checkpoint's config may ask for; a prefix would let it reach whatever a module imports
ALLOWED_TARGETS = frozenset(
    {
        "cvae.losses.BetaSchedule",
        "cvae.losses.Objective",
        "cvae.losses.YTerm",
        "cvae.losses.absolute",
        "cvae.losses.bernoulli",
        "cvae.losses.gaussian",
        "cvae.losses.huber",
        "cvae.losses.squared",
        "cvae.networks.ParametersHead",
        "cvae.networks.ProbabilitiesHead",
        "cvae.networks.ValuesHead",
        "cvae.networks.conv",
        "cvae.networks.deep",
        "cvae.networks.dense",
        "cvae.networks.mixture",
        "cvae.networks.points",
        "cvae.networks.starter",
        "cvae.tasks.Box",
        "cvae.tasks.Digits",
        "cvae.tasks.GaussianMixture",
        "cvae.tasks.LightCurves",
        "cvae.tasks.Lines",
        "cvae.tasks.box_problem",
        "cvae.tasks.line_problem",
    }
)


class CheckpointError(UserError):
    """A checkpoint that is damaged, foreign, or asks for something that it may not have."""


def read_checkpoint(path: str | Path, allow: Iterable[str] = ()) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Config and weights of a checkpoint, checked.

    Args:
        path: the ``.ckpt`` file.
        allow: further dotted names that its config may ask for, for example your own forward operator.

    Raises:
        MissingFileError: if there is no such file.
        CheckpointError: if it cannot be loaded as plain data, is no checkpoint of this project, or asks for a target
            outside the allow-list.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such checkpoint.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be loaded as plain data ({reason}).") from None
    stored = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(stored, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"{path}: is no checkpoint of this project (it lacks the entry {KEY!r}).")
    if stored.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: has format {stored.get('format')}; this version reads format {FORMAT}. Read it with the version "
            "that wrote it, or train anew."
        )
    config = stored.get("config")
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: holds no config.")
    try:
        check_config(config, allow, str(path))
    except RecursionError:
        raise CheckpointError(f"{path}: its config is nested too deeply.") from None
    return config, content["state_dict"]


def check_config(config: Any, allow: Iterable[str] = (), where: str = "config") -> None:
    """Refuse a config that could run foreign code.

    Raises:
        CheckpointError: for a ``_target_`` outside the allow-list, an interpolation, or anything but plain data.
    """
    allowed = ALLOWED_TARGETS | set(allow)
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == "_target_" and (not isinstance(value, str) or value not in allowed):
                raise CheckpointError(
                    f"{where}: asks for {value!r}, which is not on the allow-list. If you trust it, name it: "
                    f'CVAE.load(path, allow=["{value}"]) or allow=[{value}] on the command line.'
                )
            check_config(key, allow, where)
            check_config(value, allow, where)
    elif isinstance(config, list | tuple):
        for value in config:
            check_config(value, allow, where)
    elif isinstance(config, str):
        if "${" in config:
            raise CheckpointError(
                f"{where}: holds the interpolation {config!r}; a checkpoint may hold plain values only."
            )
    elif config is not None and not isinstance(config, bool | int | float):
        raise CheckpointError(f"{where}: holds a {type(config).__name__}; a checkpoint may hold plain values only.")
