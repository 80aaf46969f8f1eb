"""What a bundle needs to draw again: the network from its config, its weights from text, the draws from their seed.

This module is copied into every bundle (see :mod:`cvae.challenge.source`), so it may use torch, yaml and the standard
library only, beside modules of the project that do the same.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.errors import UserError
from cvae.networks.base import LatentNetwork
from cvae.sampling import chunk_size, find_point_set, in_chunks

RESULT = "result.pt"
PARAMETERS = "model_parameters.yaml"
#: of the parameters those that draws need
ENTRIES = ("model", "weights", "sampling", "stage", "x_shape", "y_shape")
# the same draws made on another machine differ by rounding: by this share of the largest value at most
ROUNDING = 1e-4


def tensor_from(content: Mapping[str, Any]) -> Tensor:
    """The tensor that shape, type and bytes (as base64 text) describe.

    Raises:
        UserError: if these do not go together.
    """
    try:
        data = torch.frombuffer(bytearray(base64.b64decode(content["base64"])), dtype=torch.uint8)
        return data.view(getattr(torch, content["dtype"])).reshape(content["shape"])
    except Exception:  # whatever is met where something else was expected
        raise UserError(f"{PARAMETERS}: holds weights that are damaged; get the bundle again.") from None


def read_parameters(folder: Path) -> dict[str, Any]:
    """Config, weights and settings of the draws that lie in a bundle's folder.

    Raises:
        UserError: if they are missing or damaged.
    """
    # the loader in C is ten times as fast, where PyYAML has it
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content: dict[str, Any] = yaml.load((folder / PARAMETERS).read_text(encoding="utf-8"), Loader=loader)
        missing = [name for name in ENTRIES if name not in content]
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
        raise UserError(f"{folder / PARAMETERS}: is missing or damaged; get the bundle again.") from None
    if missing:
        raise UserError(f"{folder / PARAMETERS}: lacks {', '.join(missing)}; get the bundle again.")
    return content


def build(config: Any, targets: Mapping[str, Callable[..., Any]]) -> Any:
    """What a config of plain data names by ``_target_``, inner parts first; ``targets`` says what names stand for."""
    if isinstance(config, list):
        return [build(entry, targets) for entry in config]
    if not isinstance(config, dict):
        return config
    parts = {key: build(value, targets) for key, value in config.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in config:
        return parts
    target = targets[config["_target_"]]
    return functools.partial(target, **parts) if config.get("_partial_") else target(**parts)


def load_network(parameters: Mapping[str, Any], targets: Mapping[str, Callable[..., Any]]) -> LatentNetwork:
    """The trained network of a bundle, in evaluation mode.

    Args:
        parameters: from :func:`read_parameters`.
        targets: what the names in the network's config stand for.

    Raises:
        UserError: if config and weights do not go together.
    """
    try:
        network: LatentNetwork = build(parameters["model"], targets)
        network.load_state_dict({name: tensor_from(content) for name, content in parameters["weights"].items()})
    except (KeyError, TypeError, AttributeError, RuntimeError):
        raise UserError(f"{PARAMETERS}: its weights do not fit its model; get the bundle again.") from None
    return network.eval()


@torch.no_grad()
def draw(
    network: LatentNetwork, y: Tensor, draws: int, seed: int, chunk: int, point_set: str, temperature: float
) -> Tensor:
    """Solutions ``(batch, draws, *x_shape)`` from the prior, neither refined nor chosen.

    Args:
        network: a trained network.
        y: conditions ``(batch, *y_shape)``.
        draws: solutions for each condition.
        seed: fixes everything.
        chunk: draws whose latents are drawn at once; another number gives other draws.
        point_set: where latent draws start, ``random`` or ``sobol``.
        temperature: spread of the latent.
    """
    generator, points = torch.Generator().manual_seed(seed), find_point_set(point_set)
    parts = y.split(max(chunk // draws, 1))
    u = torch.cat([points(len(part), draws, network.noise_dim, generator) for part in parts])
    size = chunk_size(y.device)
    return in_chunks(lambda some, few: network.draw(y[some], u[some, few], temperature), len(y), draws, size)


def arranged(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """Rows of the challenge's files, curves as ``(count, 1, points, curves)``, to ``(count, *shape)``."""
    return rows[:, 0].transpose(1, 2) if rows.dim() == 4 else rows.reshape(-1, *shape)


def read_result(folder: Path, parameters: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Solutions ``(batch, draws, *x_shape)`` and conditions ``(batch, *y_shape)`` of a bundle.

    Raises:
        UserError: if they are missing or damaged, or do not fit the parameters.
    """
    try:
        with torch.serialization.safe_globals([TensorDataset]):
            x, y = torch.load(folder / RESULT, weights_only=True).tensors
        draws = parameters["sampling"]["draws"]
        return arranged(x, parameters["x_shape"]).unflatten(0, (-1, draws)), arranged(y, parameters["y_shape"])[::draws]
    except Exception:  # torch.load raises many kinds, and advises to load what is unsafe
        raise UserError(f"{folder / RESULT}: is missing, damaged or no result of this bundle; get it again.") from None


def check_bundle(folder: Path, targets: Mapping[str, Callable[..., Any]]) -> int:
    """Draw for the conditions of a bundle again and print how far that is from its draws; the exit status."""
    parameters = read_parameters(folder)
    x, y = read_result(folder, parameters)
    drawn, stage = draw(load_network(parameters, targets), y, **parameters["sampling"]), parameters["stage"]
    count = drawn.shape[0] * drawn.shape[1]
    if stage != "draw":
        print(f"{count} plain draws made; not compared, since {RESULT} holds what the stage {stage!r} left.")
        return 0
    # each coordinate in its own unit
    largest = x.abs().amax((0, 1)).clamp_min(torch.finfo(x.dtype).tiny)
    difference = float(((drawn - x).abs() / largest).max())
    print(f"{count} draws made; they differ from {RESULT} by at most {difference:.1e} of the largest value.")
    return 0 if difference <= ROUNDING else 1
