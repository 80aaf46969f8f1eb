"""Files of pairs, conditions and solutions: read as plain data, written whole or not at all."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.archives import ArchiveError, check_archive, check_size, load, save
from cvae.data.layout import arrange_condition, arrange_y
from cvae.data.positions import without_positions
from cvae.errors import UserError
from cvae.files import opened, read_text, replacing
from cvae.metrics import Check
from cvae.tasks import Lines, Problem

SUFFIXES = (".npy", ".npz", ".pt", ".csv")
#: kinds of numpy's types that are real numbers: bool, whole ones with and without sign, fractions
REAL = tuple("biuf")


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
    names: list[str] = []
    if path.suffix == ".csv":
        rows, names = _read_csv(path)
        values, counted = torch.tensor(rows, dtype=torch.float64), False
    elif path.suffix == ".pt":
        values, counted = _from_plain(path, load_plain(path))
    else:
        (values,), counted = _read_arrays(path, None), False
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


def _read_arrays(path: Path, names: Sequence[str] | None) -> list[Tensor]:
    """Arrays of real numbers of a ``.npy`` or ``.npz`` file, as float64.

    Args:
        path: the file.
        names: of the arrays; None takes the one of a ``.npy`` file, and of a ``.npz`` file y or the only one.
    """
    try:
        with opened(path) as file:
            if path.suffix == ".npz":
                check_archive(file)
            return [_real(array) for array in _arrays(path, file, names)]
    except ArchiveError as error:
        expected = "numbers" if names is None else f"numeric arrays {' and '.join(names)}"
        raise UserError(f"{path}: must be an {path.suffix} file with {expected} ({error}).") from None


def _arrays(path: Path, file: BinaryIO, names: Sequence[str] | None) -> list[Any]:
    try:
        content: Any = np.load(file, allow_pickle=False)
        if path.suffix == ".npy":
            return [content]
        held = list(content.files)
        chosen = names or (["y"] if "y" in held else held)
        if all(name in held for name in chosen) and (names or len(chosen) == 1):
            return [content[name] for name in chosen]
    except Exception:  # numpy raises many kinds for a damaged file
        raise ArchiveError("it is damaged or cut short, or holds something else than arrays of numbers") from None
    raise ArchiveError(f"it holds {', '.join(map(repr, held)) or 'nothing'}; expected {' and '.join(names or ['y'])}")


def _real(array: Any) -> Tensor:
    if getattr(getattr(array, "dtype", None), "kind", None) not in REAL:
        kind = getattr(array, "dtype", type(array).__name__)
        raise ArchiveError(f"it holds values of the type {kind}; expected real numbers")
    return torch.from_numpy(array.astype(np.float64))


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
        curves = [curve for curve in last if isinstance(curve, Tensor)]
        if len(curves) == len(content) and len({curve.shape for curve in curves}) == 1:
            return _stacked(path, curves), True
    raise UserError(
        f"{path}: holds a {type(content).__name__} that is no tensor, no TensorDataset of tensors and no list of "
        "pairs (x, y) of tensors of equal shapes."
    )


def _read_csv(path: Path) -> tuple[list[list[float]], list[str]]:
    """Rows of numbers, and the names of a first line; lines that start with # are left out."""
    rows: list[list[float]] = []
    names: list[str] = []
    lines = read_text(path, "utf-8-sig").splitlines()
    seen = False
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        mark = next((mark for mark in (";", ",", "\t") if mark in line), None)
        cells = [cell.strip() for cell in line.split(mark)]
        first, seen = not seen, True
        if first and not any(is_number(cell) for cell in cells):
            names = cells
            continue
        wrong = next((cell for cell in cells if not is_number(cell)), None)
        if wrong is not None:
            raise UserError(f"{path}: line {number} holds {wrong!r}, which is not a number.")
        if rows and len(cells) != len(rows[0]):
            raise UserError(f"{path}: line {number} has {len(cells)} values, the lines before have {len(rows[0])}.")
        rows.append([float(cell) for cell in cells])
    if not rows:
        raise UserError(f"{path}: holds no numbers.")
    # a title is no line of names
    return rows, names if len(names) == len(rows[0]) else []


def is_number(cell: str) -> bool:
    """Whether a cell of a table is a number as it is written in tables."""
    # float() also takes 1_000, which no table means
    return re.fullmatch(r"[+-]?((\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|nan|inf)", cell, re.I | re.A) is not None


def load_plain(path: str | Path) -> Any:
    """Load a ``.pt`` file that may hold tensors, plain containers and ``TensorDataset``, and nothing else.

    Raises:
        MissingFileError: if there is no such file.
        UserError: if the file is damaged or asks for any other class.
    """
    try:
        return load(path, [TensorDataset])
    except ArchiveError as error:
        raise UserError(
            f"{error} It must be a torch file of tensors, lists, tuples, dicts or a TensorDataset; save it again with "
            "torch.save from such objects."
        ) from None


def read_pairs(path: str | Path) -> tuple[Tensor, Tensor]:
    """Raw ``x`` and ``y`` of a ``.pt`` (TensorDataset or list of pairs) or ``.npz`` (arrays x, y) file, as float32.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for a damaged file or other contents.
    """
    path = Path(path)
    if path.suffix == ".npz":
        x, y = _read_arrays(path, ("x", "y"))
        return _same_length(path, x.float(), y.float())
    content = load_plain(path)
    if isinstance(content, TensorDataset):
        # a file may set the attribute to anything
        held = getattr(content, "tensors", None)
        tensors = [part for part in held if isinstance(part, Tensor)] if isinstance(held, list | tuple) else []
        if len(tensors) < 2:
            raise UserError(f"{path}: the TensorDataset holds {len(tensors)} tensor(s); expected x and y.")
        return _same_length(path, tensors[0].detach().float(), tensors[1].detach().float())
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
    return _stacked(path, [x for x, _ in pairs]).float(), _stacked(path, [y for _, y in pairs]).float()


def _stacked(path: Path, tensors: Sequence[Tensor]) -> Tensor:
    # a short file may name one tensor any number of times
    with opened(path) as file:
        try:
            check_size(file, sum(tensor.numel() * tensor.element_size() for tensor in tensors))
        except ArchiveError as error:
            raise UserError(f"{path}: {error}.") from None
    return torch.stack([tensor.detach() for tensor in tensors])


def _same_length(path: Path, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y) or len(x) == 0:
        raise UserError(f"{path}: x {tuple(x.shape)} and y {tuple(y.shape)} must be as many, and at least one.")
    return x, y


# --- writing


def write_solutions(
    path: str | Path,
    problem: Problem,
    x: Tensor,
    y: Tensor,
    check: Check,
    completeness: Mapping[str, Tensor] | None = None,
) -> None:
    """Write solutions, whole or not at all, in the format that the suffix of ``path`` names.

    ``.npz`` and ``.pt`` hold the arrays x ``(batch, draws, *x_shape)``, y ``(batch, *y_shape)``, misfit and valid
    ``(batch, draws)``, of lines straightness ``(batch, draws, lines)``, and gate ``()``, the largest misfit of a valid
    draw, and those of ``completeness``; ``.csv`` has one row for each draw.

    Args:
        completeness: by name, of each condition ``(batch,)``, see :class:`cvae.generation.Solutions`.

    Raises:
        UserError: for another suffix.
        OSError: if the folder cannot be written to.
    """
    path = Path(path)
    write = writer(path)
    gate = torch.tensor(problem.gates.rmse)
    arrays = {"x": x, "y": y, "misfit": check.misfit, "valid": check.valid, "gate": gate, **(completeness or {})}
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
    save(path, {name: array.clone() for name, array in arrays.items()})


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
    # one number for each condition
    single = {name: array.numpy() for name, array in arrays.items() if array.dim() == 1}
    # numbers as short as float32 allows
    cells = torch.cat(columns, dim=-1).numpy().astype(str)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*header, *single])
        for i, j in np.ndindex(*arrays["valid"].shape):
            told = [values[i] for values in single.values()]
            table.writerow([i, j, int(arrays["valid"][i, j]), *cells[i, j], *told])


WRITERS: dict[str, Writer] = {".npz": _write_npz, ".pt": _write_pt, ".csv": _write_csv}
