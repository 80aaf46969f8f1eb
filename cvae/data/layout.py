"""The challenge's file layout, and how it maps to the project's tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset


def to_challenge(x: Tensor) -> Tensor:
    """Solutions ``(count, lines, points)`` to the challenge's ``(count, 1, points, lines)``."""
    return x.transpose(-1, -2).unsqueeze(1).contiguous()


def from_challenge_x(x: Tensor, lines: int, points: int) -> Tensor:
    """Any accepted layout of solutions to ``(count, lines, points)``.

    Accepted: ``(count, 1, points, lines)`` (the challenge), ``(count, points, lines)``, ``(count, lines, points)``.

    Raises:
        ValueError: for another shape.
    """
    if x.dim() == 4 and x.shape[1] == 1:
        x = x[:, 0]
    if x.dim() == 3 and x.shape[1:] == (points, lines):
        return x.transpose(1, 2).contiguous()
    if x.dim() == 3 and x.shape[1:] == (lines, points):
        return x.contiguous()
    raise ValueError(
        f"x has shape {tuple(x.shape)}; expected (count, 1, {points}, {lines}), that is {points} points of {lines} "
        "lines (data.points and data.directions say how many)."
    )


def from_challenge_y(y: Tensor, conditions: int, points: int) -> Tensor:
    """Any accepted layout of conditions to ``(count, conditions, points)``.

    Accepted: ``(count, points)`` for one condition, ``(count, points, conditions)``,
    ``(count, 1, points, conditions)``, ``(count, conditions, points)``.

    Raises:
        ValueError: for another shape.
    """
    if y.dim() == 4 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dim() == 2 and conditions == 1 and y.shape[1] == points:
        return y.unsqueeze(1).contiguous()
    if y.dim() == 3 and y.shape[1:] == (points, conditions):
        return y.transpose(1, 2).contiguous()
    if y.dim() == 3 and y.shape[1:] == (conditions, points):
        return y.contiguous()
    raise ValueError(
        f"y has shape {tuple(y.shape)}; expected (count, {points}, {conditions})"
        + (f" or (count, {points})" if conditions == 1 else "")
        + f", that is {points} points of {conditions} condition(s) (data.forward has one expression per condition)."
    )


def load_plain(path: str | Path) -> Any:
    """Load a ``.pt`` file that may hold tensors, plain containers and ``TensorDataset``, and nothing else.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or asks for any other class.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        with torch.serialization.safe_globals([TensorDataset]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path}: cannot be loaded safely ({reason}). It must be a torch file of tensors, lists, tuples, dicts "
            "or a TensorDataset; save it again with torch.save from such objects."
        ) from None


def read_pairs(path: str | Path) -> tuple[Tensor, Tensor]:
    """Raw ``x`` and ``y`` of a ``.pt`` (TensorDataset or list of pairs) or ``.npz`` (arrays x, y) file, as float32.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a damaged file or other contents.
    """
    path = Path(path)
    if path.suffix == ".npz":
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file.")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                x, y = (torch.from_numpy(np.asarray(arrays[name])).float() for name in ("x", "y"))
        except Exception as error:
            raise ValueError(f"{path}: must be an .npz file with numeric arrays x and y ({error}).") from None
        return _same_length(path, x, y)
    content = load_plain(path)
    if isinstance(content, TensorDataset):
        # a file may set the attribute to anything
        held = getattr(content, "tensors", None)
        tensors = [part for part in held if isinstance(part, Tensor)] if isinstance(held, list | tuple) else []
        if len(tensors) < 2:
            raise ValueError(f"{path}: the TensorDataset holds {len(tensors)} tensor(s); expected x and y.")
        return _same_length(path, tensors[0].float(), tensors[1].float())
    if isinstance(content, list | tuple) and content:
        return _same_length(path, *_stack_pairs(path, content))
    raise ValueError(f"{path}: holds a {type(content).__name__}; expected a TensorDataset or a list of (x, y) pairs.")


def _stack_pairs(path: Path, pairs: list[Any] | tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    for number, pair in enumerate(pairs):
        good = isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, Tensor) for part in pair)
        if not good:
            raise ValueError(f"{path}: entry {number} is not a pair (x, y) of tensors.")
        if pair[0].shape != pairs[0][0].shape or pair[1].shape != pairs[0][1].shape:
            raise ValueError(f"{path}: entry {number} has other shapes than entry 0.")
    return torch.stack([x for x, _ in pairs]).float(), torch.stack([y for _, y in pairs]).float()


def _same_length(path: Path, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{path}: x {tuple(x.shape)} and y {tuple(y.shape)} must be as many, and at least one.")
    return x, y
