"""What a bundle needs to draw again: the network from its config, its weights from text, the draws from their seed.

The source of this module goes into every bundle, so it may use torch, yaml and the standard library only, beside the
parts of the project that go there too (see :mod:`cvae.challenge.source`).
"""

from __future__ import annotations

import base64
import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.data.layout import from_challenge_y
from cvae.draws import POINT_SETS
from cvae.networks.base import LatentNetwork

RESULT = "result.pt"
PARAMETERS = "model_parameters.yaml"
# the same draws made on another machine differ by rounding
TOLERANCE = 1e-4


def decode(content: Mapping[str, Any]) -> Tensor:
    """The tensor that shape, type and bytes (little-endian, as base64 text) describe."""
    dtype: torch.dtype = getattr(torch, content["dtype"])
    data = torch.frombuffer(bytearray(base64.b64decode(content["base64"])), dtype=torch.uint8)
    if sys.byteorder == "big":
        data = data.reshape(-1, torch.empty((), dtype=dtype).element_size()).flip(1).reshape(-1)
    return data.view(dtype).reshape(content["shape"]).clone()


def read_parameters(folder: Path) -> dict[str, Any]:
    """Config, weights and settings of the draws that lie in a bundle's folder."""
    # the loader in C is ten times as fast, where PyYAML has it
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with (folder / PARAMETERS).open(encoding="utf-8") as file:
        content: dict[str, Any] = yaml.load(file, Loader=loader)
    return content


def build(config: Any, targets: Mapping[str, Callable[..., Any]]) -> Any:
    """Build what a config names by ``_target_``, inner parts first.

    Args:
        config: plain data.
        targets: what the names stand for.
    """
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
    """
    network: LatentNetwork = build(parameters["model"], targets)
    network.load_state_dict({name: decode(tensor) for name, tensor in parameters["weights"].items()})
    return network.eval()


@torch.no_grad()
def plain_draws(
    network: LatentNetwork, y: Tensor, points: str, count: int, seed: int, chunk: int, temperature: float = 1.0
) -> Tensor:
    """Draw solutions ``(batch, count, lines, points)`` from the prior, neither refined nor chosen.

    Args:
        network: a trained network.
        y: conditions ``(batch, conditions, points)``.
        points: point set that draws start from.
        count: solutions for each condition.
        seed: fixes everything.
        chunk: draws decoded at once; another number gives other points.
        temperature: spread of the latent.
    """
    generator = torch.Generator().manual_seed(seed)
    pieces = []
    for piece in y.split(max(chunk // count, 1)):
        u = POINT_SETS[points](len(piece), count, network.noise_dim, generator)
        pieces.append(network.draw(piece, u.to(piece), temperature))
    return torch.cat(pieces)


def read_result(folder: Path, conditions: int, points: int, count: int) -> tuple[Tensor, Tensor]:
    """Rows ``(batch * count, 1, points, lines)`` and conditions ``(batch, conditions, points)`` of a bundle."""
    with torch.serialization.safe_globals([TensorDataset]):
        rows, y = torch.load(folder / RESULT, weights_only=True).tensors
    return rows, from_challenge_y(y, conditions, points)[::count]


def reproduce(
    folder: Path, parameters: Mapping[str, Any], targets: Mapping[str, Callable[..., Any]]
) -> tuple[Tensor, Tensor]:
    """Draw for the conditions of a bundle again.

    Returns:
        The draws in the layout of the challenge ``(batch * count, 1, points, lines)``, and those in the bundle.
    """
    settings = {name: value for name, value in parameters["draws"].items() if name != "stage"}
    rows, y = read_result(folder, **parameters["condition"], count=settings["count"])
    x = plain_draws(load_network(parameters, targets), y, **settings)
    return x.flatten(0, 1).transpose(1, 2).unsqueeze(1), rows


def check_bundle(folder: Path, targets: Mapping[str, Callable[..., Any]]) -> int:
    """Compare fresh draws with those in the bundle, and print the largest difference; the exit status."""
    parameters = read_parameters(folder)
    drawn, rows = reproduce(folder, parameters, targets)
    stage = parameters["draws"]["stage"]
    if stage != "draw":
        print(f"{len(drawn)} plain draws made; {RESULT} holds draws after the stage {stage!r}, which differ.")
        return 0
    difference = float((drawn - rows).abs().max())
    print(f"{len(drawn)} draws made; they differ from {RESULT} by at most {difference:.1e}.")
    return 0 if difference <= TOLERANCE else 1
