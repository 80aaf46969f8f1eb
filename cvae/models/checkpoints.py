"""Checkpoints as plain data: what is stored, and how it becomes a model again without running foreign code."""

from __future__ import annotations

import dataclasses
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
        "cvae.losses.ContrastiveDivergence",
        "cvae.losses.Objective",
        "cvae.losses.YTerm",
        "cvae.losses.absolute",
        "cvae.losses.bernoulli",
        "cvae.losses.gaussian",
        "cvae.losses.huber",
        "cvae.losses.squared",
        "cvae.networks.KL",
        "cvae.networks.LatentOptions",
        "cvae.networks.MMD",
        "cvae.networks.ParametersHead",
        "cvae.networks.ProbabilitiesHead",
        "cvae.networks.SlicedWasserstein",
        "cvae.networks.StandardNormal",
        "cvae.networks.StandardStudentT",
        "cvae.networks.StandardUniform",
        "cvae.networks.ValuesHead",
        "cvae.networks.conv",
        "cvae.networks.deep",
        "cvae.networks.dense",
        "cvae.networks.energy",
        "cvae.networks.mixture",
        "cvae.networks.points",
        "cvae.networks.starter",
        "cvae.tasks.Box",
        "cvae.tasks.Digits",
        "cvae.tasks.GaussianMixture",
        "cvae.tasks.LightCurves",
        "cvae.tasks.Lines",
        "cvae.tasks.SeaTemperature",
        "cvae.tasks.SwissRoll",
        "cvae.tasks.box_problem",
        "cvae.tasks.line_problem",
    }
)


#: what to do about a model of which no config is known
NO_CONFIG = (
    "It is known for parts that are made by the project's functions and classes from plain values; decorate your own "
    "with cvae.recording.recorded, or give the model its config."
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
    content = read_content(path)
    stored = content.get(KEY)
    if not isinstance(stored, dict):
        raise CheckpointError(f"{path}: is no checkpoint of this project (it lacks the entry {KEY!r}).")
    if stored.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: has format {stored.get('format')}; this version reads format {FORMAT}. Read it with the version "
            "that wrote it, or train anew."
        )
    config = stored.get("config")
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: holds no config, so nothing tells how its model is built. {NO_CONFIG}")
    try:
        check_config(config, allow, str(path))
    except RecursionError:
        raise CheckpointError(f"{path}: its config is nested too deeply.") from None
    return config, content["state_dict"]


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint alone, by name; nothing is built from its config.

    Raises:
        MissingFileError: if there is no such file.
        CheckpointError: if it cannot be loaded as plain data, or is no checkpoint of this project.
    """
    weights: dict[str, torch.Tensor] = read_content(path)["state_dict"]
    return weights


def check_fit(path: str | Path, weights: Mapping[str, torch.Tensor], model: torch.nn.Module) -> None:
    """Check that weights belong to a model of these shapes.

    Raises:
        CheckpointError: naming the first that does not.
    """
    here = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    there = {name: tuple(value.shape) for name, value in weights.items()}
    differ = [name for name in here | there if here.get(name) != there.get(name)]
    if differ:
        name = differ[0]
        raise CheckpointError(
            f"{path}: its weights do not fit this model: {name} is {there.get(name, 'not there')} in the file and "
            f"{here.get(name, 'not there')} here ({len(differ)} differ). Choose the model and the shapes of "
            "x and y that it was trained with."
        )


def read_content(path: str | Path) -> dict[str, Any]:
    """All that a checkpoint of this project holds, loaded as plain data; its config is not checked.

    Raises:
        MissingFileError: if there is no such file.
        CheckpointError: if it cannot be loaded as plain data, or is no checkpoint of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such checkpoint.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be loaded as plain data ({reason}).") from None
    if not isinstance(content, dict) or KEY not in content or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"{path}: is no checkpoint of this project (it lacks the entry {KEY!r}).")
    if not all(isinstance(value, torch.Tensor) for value in content["state_dict"].values()):
        raise CheckpointError(f"{path}: holds weights that are no tensors.")
    return content


def config_of(evaluation: Any, **parts: Any) -> dict[str, Any] | None:
    """The config of a model, from its evaluation, a dataclass, and the configs of its parts; None if one has none."""
    configs = {name: getattr(part, "config", None) for name, part in parts.items()}
    return None if None in configs.values() else configs | {"evaluation": dataclasses.asdict(evaluation)}


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
