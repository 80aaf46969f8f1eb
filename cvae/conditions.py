"""Observed conditions from files: ``.npy``, ``.npz``, ``.pt`` and ``.csv`` to ``(count, conditions, points)``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.data.layout import from_challenge_y, load_plain

SUFFIXES = (".npy", ".npz", ".pt", ".csv")


def read_conditions(path: str | Path, conditions: int, points: int) -> Tensor:
    """Conditions from a file, float32 ``(count, conditions, points)``.

    Args:
        path: ``.npy``; ``.npz`` with an array ``y`` or one array; ``.pt`` with a tensor, a TensorDataset (its last
            tensor is y) or a list of (x, y) pairs; ``.csv`` with one curve on each line or in each column.
        conditions, points: shape of one condition.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a damaged file, another shape, a shape that can be read in two ways, or values that are not
            finite.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: conditions are read from {', '.join(SUFFIXES)} files, not from {path.suffix!r}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    values, counted = _read(path)
    if values.is_complex():
        raise ValueError(f"{path}: holds complex numbers; expected real ones.")
    try:
        y = from_challenge_y(values.float(), conditions, points) if counted else arrange(values, conditions, points)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    bad = ~y.isfinite().flatten(1).all(1)
    if bad.any():
        raise ValueError(
            f"{path}: {int(bad.sum())} of {len(y)} conditions hold values that are not finite, first number "
            f"{int(bad.nonzero()[0, 0])}."
        )
    return y


def arrange(values: Tensor, conditions: int, points: int) -> Tensor:
    """An array of any accepted shape to ``(count, conditions, points)``.

    Accepted: one condition as ``(conditions, points)``, ``(points, conditions)``, or ``(points,)`` if it is a single
    curve; many as ``(count, conditions, points)``, ``(count, points, conditions)``, ``(count, 1, points,
    conditions)``, or ``(count, points)`` and ``(points, count)`` if each is a single curve.

    Raises:
        ValueError: for another shape, or one that can be read in two ways.
    """
    values = values.float()
    shape = tuple(values.shape)
    single, one = conditions == 1, (conditions, points)
    readings: list[Tensor] = []
    if shape == (points,) and single:
        readings.append(values.reshape(1, 1, points))
    elif values.dim() == 2 and single:
        readings += [values.unsqueeze(1)] if shape[1] == points else []
        readings += [values.T.unsqueeze(1)] if shape[0] == points else []
    elif values.dim() == 2:
        readings += [values.unsqueeze(0)] if shape == one else []
        readings += [values.T.unsqueeze(0)] if shape == one[::-1] else []
    elif values.dim() == 4 and shape[1:] == (1, points, conditions):
        readings.append(values[:, 0].transpose(1, 2))
    elif values.dim() == 3:
        readings += [values] if shape[1:] == one else []
        readings += [values.transpose(1, 2)] if shape[1:] == one[::-1] else []
    readings = [reading for reading in readings if len(reading) > 0]
    if len(readings) == 1:
        return readings[0].contiguous()
    if readings:
        raise ValueError(
            f"y has shape {shape}, which can be read in two ways, as {points} points of {conditions} condition(s) "
            f"along either axis; save it as (count, 1, {points}, {conditions})."
        )
    wanted = [f"({conditions}, {points})", f"({points}, {conditions})"]
    wanted += [f"(count, {conditions}, {points})", f"(count, {points}, {conditions})"]
    wanted += [f"(count, 1, {points}, {conditions})"] + ([f"({points},)", f"(count, {points})"] if single else [])
    raise ValueError(
        f"y has shape {shape}; expected one of {', '.join(wanted)}: the problem has {points} points (data.points) and "
        f"{conditions} condition(s) (data.forward)."
    )


def _read(path: Path) -> tuple[Tensor, bool]:
    """The array in a file, and whether its first axis is known to count conditions."""
    if path.suffix == ".csv":
        return torch.tensor(_read_csv(path), dtype=torch.float64), False
    if path.suffix == ".pt":
        return _from_plain(path, load_plain(path))
    try:
        # opened here, so that it is closed again when numpy rejects it
        with path.open("rb") as file:
            content: Any = np.load(file, allow_pickle=False)
            if path.suffix == ".npz":
                content = _only_array(content)
            array = np.asarray(content)
        return torch.from_numpy(array.astype(complex if np.iscomplexobj(array) else float)), False
    except Exception as error:
        raise ValueError(f"{path}: must be a {path.suffix} file of numbers ({error}).") from None


def _only_array(content: Any) -> Any:
    names = list(content.files)
    if "y" not in names and len(names) != 1:
        raise ValueError(f"it holds the arrays {', '.join(names) or 'none'}; expected one named y")
    return content["y" if "y" in names else names[0]]


def _from_plain(path: Path, content: Any) -> tuple[Tensor, bool]:
    if isinstance(content, Tensor):
        return content.detach(), False
    if isinstance(content, TensorDataset):
        # a file may set the attribute to anything
        parts = getattr(content, "tensors", ())
        if isinstance(parts, list | tuple) and parts and isinstance(parts[-1], Tensor):
            return parts[-1].detach(), True
    if isinstance(content, list | tuple) and content:
        last = [pair[-1] if isinstance(pair, list | tuple) and len(pair) == 2 else None for pair in content]
        curves = [curve.detach() for curve in last if isinstance(curve, Tensor)]
        if len(curves) == len(content) and len({curve.shape for curve in curves}) == 1:
            return torch.stack(curves), True
    raise ValueError(
        f"{path}: holds a {type(content).__name__} that is no tensor, no TensorDataset of tensors and no list of "
        "pairs (x, y) of tensors of equal shapes."
    )


def _read_csv(path: Path) -> list[list[float]]:
    """Rows of numbers; a first line of names and lines that start with # are left out."""
    rows: list[list[float]] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is no text file.") from None
    seen = False
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        mark = next((mark for mark in (";", ",", "\t") if mark in line), None)
        cells = [cell.strip() for cell in line.split(mark)]
        first, seen = not seen, True
        if first and not any(_is_number(cell) for cell in cells):
            continue
        wrong = next((cell for cell in cells if not _is_number(cell)), None)
        if wrong is not None:
            raise ValueError(f"{path}: line {number} holds {wrong!r}, which is not a number.")
        if rows and len(cells) != len(rows[0]):
            raise ValueError(f"{path}: line {number} has {len(cells)} values, the lines before have {len(rows[0])}.")
        rows.append([float(cell) for cell in cells])
    if not rows:
        raise ValueError(f"{path}: holds no numbers.")
    return rows


def _is_number(cell: str) -> bool:
    # float() also takes 1_000, which no table means
    return re.fullmatch(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf)", cell, re.I) is not None
