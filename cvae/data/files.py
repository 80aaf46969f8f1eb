"""Files of pairs, conditions and solutions: read as plain data, written whole or not at all."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.data.layout import arrange_condition, arrange_y
from cvae.data.positions import without_positions
from cvae.errors import MissingFileError, UserError
from cvae.files import replacing
from cvae.metrics import Check
from cvae.tasks import Lines, Problem

SUFFIXES = (".npy", ".npz", ".pt", ".csv")


def read_conditions(path: str | Path, problem: Problem) -> Tensor:
    """Conditions from a file, float32 ``(count, *y_shape)``.

    Args:
        path: ``.npy``; ``.npz`` with an array ``y`` or one array; ``.pt`` with a tensor, a TensorDataset (its last
            tensor is y) or a list of (x, y) pairs; ``.csv`` with one curve on each line or in each column, of which
            one may hold the positions (:func:`cvae.data.positions.without_positions`); of a vector one condition on
            each line.
        problem: gives the shape of one condition.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for a damaged file, another shape, a shape that can be read in two ways, or values that are not
            finite.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: conditions are read from {', '.join(SUFFIXES)} files, not from {path.suffix!r}.")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file.")
    names: list[str] = []
    if path.suffix == ".csv":
        rows, names = _read_csv(path)
        values, counted = torch.tensor(rows, dtype=torch.float64), False
    else:
        values, counted = _read(path)
    if values.is_complex():
        raise UserError(f"{path}: holds complex numbers; expected real ones.")
    try:
        values = values if counted else without_positions(values.double(), names, problem)
        y = (arrange_y if counted else arrange_condition)(values.float(), problem)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    bad = ~y.isfinite().flatten(1).all(1)
    if bad.any():
        raise UserError(
            f"{path}: {int(bad.sum())} of {len(y)} conditions hold values that are not finite, first number "
            f"{int(bad.nonzero()[0, 0])}."
        )
    return y


def _read(path: Path) -> tuple[Tensor, bool]:
    """The array in a file other than ``.csv``, and whether its first axis is known to count conditions."""
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
        raise UserError(f"{path}: must be a {path.suffix} file of numbers ({error}).") from None


def _only_array(content: Any) -> Any:
    names = list(content.files)
    if "y" not in names and len(names) != 1:
        raise UserError(f"it holds the arrays {', '.join(names) or 'none'}; expected one named y")
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
    raise UserError(
        f"{path}: holds a {type(content).__name__} that is no tensor, no TensorDataset of tensors and no list of "
        "pairs (x, y) of tensors of equal shapes."
    )


def _read_csv(path: Path) -> tuple[list[list[float]], list[str]]:
    """Rows of numbers, and the names of a first line; lines that start with # are left out."""
    rows: list[list[float]] = []
    names: list[str] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no text file.") from None
    seen = False
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        mark = next((mark for mark in (";", ",", "\t") if mark in line), None)
        cells = [cell.strip() for cell in line.split(mark)]
        first, seen = not seen, True
        if first and not any(_is_number(cell) for cell in cells):
            names = cells
            continue
        wrong = next((cell for cell in cells if not _is_number(cell)), None)
        if wrong is not None:
            raise UserError(f"{path}: line {number} holds {wrong!r}, which is not a number.")
        if rows and len(cells) != len(rows[0]):
            raise UserError(f"{path}: line {number} has {len(cells)} values, the lines before have {len(rows[0])}.")
        rows.append([float(cell) for cell in cells])
    if not rows:
        raise UserError(f"{path}: holds no numbers.")
    # a title is no line of names
    return rows, names if len(names) == len(rows[0]) else []


def _is_number(cell: str) -> bool:
    # float() also takes 1_000, which no table means
    return re.fullmatch(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf)", cell, re.I) is not None


def load_plain(path: str | Path) -> Any:
    """Load a ``.pt`` file that may hold tensors, plain containers and ``TensorDataset``, and nothing else.

    Raises:
        MissingFileError: if there is no such file.
        UserError: if the file is damaged or asks for any other class.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file.")
    try:
        with torch.serialization.safe_globals([TensorDataset]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: cannot be loaded safely ({reason}). It must be a torch file of tensors, lists, tuples, dicts "
            "or a TensorDataset; save it again with torch.save from such objects."
        ) from None


def read_pairs(path: str | Path) -> tuple[Tensor, Tensor]:
    """Raw ``x`` and ``y`` of a ``.pt`` (TensorDataset or list of pairs) or ``.npz`` (arrays x, y) file, as float32.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for a damaged file or other contents.
    """
    path = Path(path)
    if path.suffix == ".npz":
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file.")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                x, y = (torch.from_numpy(np.asarray(arrays[name])).float() for name in ("x", "y"))
        except Exception as error:
            raise UserError(f"{path}: must be an .npz file with numeric arrays x and y ({error}).") from None
        return _same_length(path, x, y)
    content = load_plain(path)
    if isinstance(content, TensorDataset):
        # a file may set the attribute to anything
        held = getattr(content, "tensors", None)
        tensors = [part for part in held if isinstance(part, Tensor)] if isinstance(held, list | tuple) else []
        if len(tensors) < 2:
            raise UserError(f"{path}: the TensorDataset holds {len(tensors)} tensor(s); expected x and y.")
        return _same_length(path, tensors[0].float(), tensors[1].float())
    if isinstance(content, list | tuple) and content:
        return _same_length(path, *_stack_pairs(path, content))
    raise UserError(f"{path}: holds a {type(content).__name__}; expected a TensorDataset or a list of (x, y) pairs.")


def _stack_pairs(path: Path, pairs: list[Any] | tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    for number, pair in enumerate(pairs):
        good = isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, Tensor) for part in pair)
        if not good:
            raise UserError(f"{path}: entry {number} is not a pair (x, y) of tensors.")
        if pair[0].shape != pairs[0][0].shape or pair[1].shape != pairs[0][1].shape:
            raise UserError(f"{path}: entry {number} has other shapes than entry 0.")
    return torch.stack([x for x, _ in pairs]).float(), torch.stack([y for _, y in pairs]).float()


def _same_length(path: Path, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y) or len(x) == 0:
        raise UserError(f"{path}: x {tuple(x.shape)} and y {tuple(y.shape)} must be as many, and at least one.")
    return x, y


# --- writing


def write_solutions(path: str | Path, problem: Problem, x: Tensor, y: Tensor, check: Check) -> None:
    """Write solutions, whole or not at all, in the format that the suffix of ``path`` names.

    ``.npz`` and ``.pt`` hold the arrays x ``(batch, draws, *x_shape)``, y ``(batch, *y_shape)``, misfit and valid
    ``(batch, draws)``, of lines straightness ``(batch, draws, lines)``, and gate ``()``, the largest misfit of a valid
    draw; ``.csv`` has one row for each draw.

    Raises:
        UserError: for another suffix.
        OSError: if the folder cannot be written to.
    """
    path = Path(path)
    write = writer(path)
    gate = torch.tensor(problem.gates.rmse)
    arrays = {"x": x, "y": y, "misfit": check.misfit, "valid": check.valid, "gate": gate}
    if check.straightness is not None:
        arrays["straightness"] = check.straightness
    with replacing(path) as temporary:
        write(temporary, arrays, problem)


def write_draws(path: str | Path, x: Tensor, y: Tensor) -> None:
    """Write draws ``(batch, draws, *x_shape)`` and conditions ``(batch, *y_shape)`` of a task without a forward
    operator as arrays x and y, whole or not at all.

    Raises:
        UserError: for a suffix other than ``.npz`` and ``.pt``.
        OSError: if the folder cannot be written to.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".pt"):
        raise UserError(f"out is {path}; for draws of this model it must end in .npz or .pt, or be a picture.")
    with replacing(path) as temporary:
        (_write_npz if path.suffix == ".npz" else _write_pt)(temporary, {"x": x, "y": y})


Writer = Callable[[Path, Mapping[str, Tensor], Problem], None]


def writer(path: str | Path) -> Writer:
    """The function that writes files such as ``path``.

    Raises:
        UserError: for a suffix other than ``.npz``, ``.pt`` and ``.csv``.
    """
    suffix = Path(path).suffix
    if suffix not in WRITERS:
        raise UserError(f"out is {path}; it must end in {', '.join(WRITERS)}.")
    return WRITERS[suffix]


def _write_npz(path: Path, arrays: Mapping[str, Tensor], problem: Problem | None = None) -> None:
    content: dict[str, Any] = {name: array.numpy() for name, array in arrays.items()}
    np.savez_compressed(path, **content)


def _write_pt(path: Path, arrays: Mapping[str, Tensor], problem: Problem | None = None) -> None:
    torch.save({name: array.clone() for name, array in arrays.items()}, path)


def _write_csv(path: Path, arrays: Mapping[str, Tensor], problem: Problem) -> None:
    """One row for each draw: its parameters; a line by its first and its last value."""
    header = ["condition", "draw", "valid", "misfit"]
    columns = [arrays["misfit"].unsqueeze(-1)]
    if isinstance(problem.space, Lines):
        header += [f"x{line}_straightness" for line in range(problem.space.lines)]
        columns += [arrays["straightness"], arrays["x"][..., [0, -1]].flatten(2)]
    else:
        columns.append(arrays["x"])
    header += [name.replace(" ", "_") for name in problem.space.names]
    # numbers as short as float32 allows
    cells = torch.cat(columns, dim=-1).numpy().astype(str)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        for i, j in np.ndindex(*arrays["valid"].shape):
            table.writerow([i, j, int(arrays["valid"][i, j]), *cells[i, j]])


WRITERS: dict[str, Writer] = {".npz": _write_npz, ".pt": _write_pt, ".csv": _write_csv}
