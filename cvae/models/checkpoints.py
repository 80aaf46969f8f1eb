"""Checkpoints as plain data: what is stored, and how it becomes a model again without running foreign code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from cvae import archives
from cvae.errors import MissingFileError, UserError, printable

FORMAT = 3
KEY = "cvae"
#: what a config consists of
PARTS = ("task", "model", "loss", "evaluation")
#: entries that a config may have; containers that hold each other many times have more than any machine can look at
ENTRIES = 100_000
#: a number in the config of a model may be as large as this, or as the number of its weights
SMALL = 10_000
#: what Hydra makes of containers; it passes over other words
CONVERSIONS = ("none", "partial", "object", "all")

#: everything that a checkpoint's config may ask for; a prefix would let it reach whatever a module imports
ALLOWED_TARGETS = frozenset(
    {
        "cvae.losses.BetaSchedule",
        "cvae.losses.ContrastiveDivergence",
        "cvae.losses.Objective",
        "cvae.losses.SetObjective",
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
        "cvae.networks.branches",
        "cvae.networks.conv",
        "cvae.networks.deep",
        "cvae.networks.dense",
        "cvae.networks.energy",
        "cvae.networks.film",
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
        CheckpointError: if it cannot be loaded as plain data, is no checkpoint of this project, holds weights that are
            not finite or unknown entries in its config, or asks for a target outside the allow-list or for a larger
            model than its weights make.
    """
    content = read_content(path)
    stored = content[KEY]
    if stored.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: has format {stored.get('format')}; this version reads format {FORMAT}. Read it with the version "
            "that wrote it, or train anew."
        )
    config = stored.get("config")
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: holds no config, so nothing tells how its model is built. {NO_CONFIG}")
    unknown = [name for name in config if name not in PARTS]
    if unknown:
        raise CheckpointError(
            f"{path}: its config has the entry {printable(str(unknown[0]))[:60]!r}, which no model has; it consists of "
            f"{', '.join(PARTS)}. Name another checkpoint."
        )
    try:
        check_config(config, allow, str(path))
    except RecursionError:
        raise CheckpointError(f"{path}: its config is nested too deeply; train anew.") from None
    _check_numbers(path, config, content["state_dict"])
    return config, content["state_dict"]


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


def check_head(path: str | Path, content: Mapping[str, Any], network: torch.nn.Module) -> None:
    """Check that a checkpoint's decoder has the head of ``network``, which has no weights by which to tell.

    Args:
        path: of the checkpoint.
        content: what it holds.
        network: with its ``config``; without one, or without a head, nothing is checked.

    Raises:
        CheckpointError: naming the entry.
    """
    recorded = content[KEY].get("config")
    there = _head(recorded.get("model") if isinstance(recorded, Mapping) else None)
    here = _head(getattr(network, "config", None))
    for entry in there.keys() & here.keys():
        if there[entry] != here[entry]:
            raise CheckpointError(
                f"{path}: was trained with model.head.{entry}={there[entry]}, and {here[entry]} is asked for here, by "
                "which its weights mean something else. Set the entry as it was."
            )


def _head(config: Any) -> dict[str, Any]:
    """Class and link of the head of a network's config; none where it has no head."""
    head = config.get("head") if isinstance(config, Mapping) else None
    if not isinstance(head, Mapping):
        return {}
    return {"_target_": str(head.get("_target_")), "link": str(head.get("link", "logistic"))}


def read_content(path: str | Path) -> dict[str, Any]:
    """All that a checkpoint of this project holds, loaded as plain data; its config is not checked.

    Raises:
        MissingFileError: if there is no such file.
        CheckpointError: if it cannot be loaded as plain data, is no checkpoint of this project, or holds weights that
            are not finite.
    """
    try:
        content = archives.load(path)
    except MissingFileError:
        raise MissingFileError(f"{path}: no such checkpoint.") from None
    except archives.ArchiveError as error:
        raise CheckpointError(f"{error} Name another checkpoint, or train anew.") from None
    if not isinstance(content, dict) or not isinstance(content.get(KEY), dict):
        raise CheckpointError(f"{path}: is no checkpoint of this project (it lacks the entry {KEY!r}).")
    weights = content.get("state_dict")
    if not isinstance(weights, dict):
        raise CheckpointError(f"{path}: is no checkpoint of this project (it lacks the entry 'state_dict').")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(f"{path}: holds weights that are no tensors with a name.")
        # as the 32 bits that a model keeps of them
        if not bool(value.float().isfinite().all()):
            raise CheckpointError(
                f"{path}: its weights are not finite, those of {name} first, as of a training that diverged. Name the "
                "checkpoint of an earlier epoch, or train anew, for example with a smaller optimizer.lr."
            )
    return content


def _check_numbers(path: str | Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
    """Check that no size in a config is beyond that of a model with these weights.

    Raises:
        CheckpointError: for one that is.
    """
    count = _count(weights)
    for part in ("task", "model"):
        # a seed is no size; a forward operator has numbers of its own
        sizes = {name: value for name, value in dict(config.get(part) or {}).items() if name not in ("seed", "forward")}
        for name, value in _entries(sizes):
            if type(value) is int and abs(value) > max(count, SMALL):
                raise CheckpointError(
                    f"{path}: its config asks for {f'{name}=' if name else ''}{value}, but it holds {count:,} weights "
                    "in all; it is damaged or made by hand. Name another checkpoint."
                )


def _count(weights: Mapping[str, torch.Tensor]) -> int:
    return sum(value.numel() for value in weights.values())


@contextmanager
def no_larger_than(path: str | Path, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let no model be built that has more parameters than a checkpoint has weights: it stops at the first too many.

    Raises:
        CheckpointError: for such a model.
    """
    tensors, numbers = len(weights), _count(weights)

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, numbers
        if parameter is not None:
            tensors, numbers = tensors - 1, numbers - parameter.numel()
        if min(tensors, numbers) < 0:
            raise CheckpointError(
                f"{path}: its config asks for a larger model than its {len(weights)} tensors of weights, "
                f"{_count(weights):,} numbers, make; it is damaged or made by hand. Name another checkpoint."
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


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
    for number, (key, value) in enumerate(_entries(config)):
        if number > ENTRIES:
            raise CheckpointError(f"{where}: has more than {ENTRIES:,} entries; a checkpoint may hold fewer.")
        if key == "_target_" and (not isinstance(value, str) or value not in allowed):
            raise CheckpointError(
                f"{where}: asks for {value!r}, which is not on the allow-list. If you trust it, name it: "
                f'CVAE.load(path, allow=["{value}"]) or allow=[{value}] on the command line.'
            )
        if key == "_convert_" and value not in CONVERSIONS:
            raise CheckpointError(f"{where}: has _convert_={value!r}; it must be one of {', '.join(CONVERSIONS)}.")
        if isinstance(value, str) and "${" in value:
            raise CheckpointError(
                f"{where}: holds the interpolation {value!r}; a checkpoint may hold plain values only."
            )
        if value is not None and not isinstance(value, Mapping | list | tuple | str | bool | int | float):
            raise CheckpointError(f"{where}: holds a {type(value).__name__}; a checkpoint may hold plain values only.")


def _entries(config: Any, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """Nested plain data and all that it holds, each with its key; None for what has none, such as a key itself."""
    yield key, config
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from _entries(name)
            yield from _entries(value, name)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _entries(value)
