"""Where pairs come from: simulated from the prior, or read from files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cvae.data.batches import Batch
from cvae.data.files import read_pairs
from cvae.data.layout import arrange_pairs
from cvae.data.pairs import Splits
from cvae.errors import UserError
from cvae.seeds import Purpose, stream
from cvae.tasks import Lines, Problem

log = logging.getLogger(__name__)

# f(x) and the y of a file may differ by rounding, not by more than this share of the curve's scale
Y_TOLERANCE = 1e-3
# a line that rises by less than this share of the range may be bent by the rounding of a file
NEARLY_FLAT = 1e-4


class Source(Protocol):
    """Gives the pairs of a problem.

    Attributes:
        simulated: whether further pairs can be simulated.
        exact: whether ``y`` is exactly ``f(x)``, so that x is a known solution of y.
    """

    simulated: bool
    exact: bool

    def load(self, problem: Problem, seed: int) -> Splits:
        """All pairs of a problem; the seed fixes them."""


class Looked(NamedTuple):
    """What a file shows before it is checked.

    Attributes:
        y: conditions ``(count, *y_shape)``.
        directions: of the lines; None where solutions are no lines.
    """

    y: Tensor
    directions: list[str] | None = None


def simulate(problem: Problem, count: int, generator: torch.Generator) -> Batch:
    """``count`` pairs with solutions from the prior and ``y = f(x)``.

    Raises:
        UserError: if ``f`` gives values that are not finite; the message shows such a solution.
    """
    theta = problem.space.sample(count, generator)
    x = problem.space.decode(theta)
    with torch.no_grad():
        y = problem.forward(x)
    bad = ~y.isfinite().flatten(1).all(1)
    if bad.any():
        values = zip(problem.space.names, theta[bad][0].tolist(), strict=True)
        first = ", ".join(f"{name} {value:.4g}" for name, value in values)
        where = "data.range" if isinstance(problem.space, Lines) else "data.bounds"
        raise UserError(
            f"data.forward: {problem.forward.name} is not finite for {int(bad.sum())} of {count} simulated solutions, "
            f"first for {first}. Change the expression or {where}."
        )
    return Batch(x, y)


class Simulation:
    """Pairs simulated from the prior; the seed fixes them.

    Args:
        train, validation, test: numbers of pairs.

    Raises:
        UserError: for a number below 1.
    """

    simulated = True
    exact = True

    def __init__(self, train: int = 100_000, validation: int = 3_000, test: int = 1_000) -> None:
        self.sizes = {"train": train, "validation": validation, "test": test}
        for name, size in self.sizes.items():
            if size < 1:
                raise UserError(f"data.source.{name} is {size}; it must be at least 1.")

    def load(self, problem: Problem, seed: int) -> Splits:
        """Simulate all splits, each from its own random stream."""
        streams = (stream(Purpose.SIMULATION, seed, number) for number in range(3))
        return Splits(*(simulate(problem, size, one) for size, one in zip(self.sizes.values(), streams, strict=True)))


class PairFiles:
    """Pairs from files; see :func:`cvae.data.files.read_pairs` for the formats.

    Args:
        train: the file to learn from.
        validation, test: files of their own, or null to split off ``held_out`` pairs each from ``train``.
        held_out: how many pairs a missing file takes from ``train``.
        trust_y: accept ``y`` that differ from ``f(x)``, for example by noise.

    Raises:
        UserError: for no file to learn from, or one that is named for validation or test too.
    """

    simulated = False

    def __init__(
        self,
        train: str | None,
        validation: str | None = None,
        test: str | None = None,
        held_out: int = 1_000,
        trust_y: bool = False,
    ) -> None:
        if train is None:
            raise UserError("data.source.train names no file; set data.source.train=PATH.")
        if held_out < 1:
            raise UserError(f"data.source.held_out is {held_out}; it must be at least 1.")
        self.paths = {"train": train, "validation": validation, "test": test}
        self.held_out = held_out
        self.exact = not trust_y
        for name in ("validation", "test"):
            if _is_same_file(train, self.paths[name]):
                raise UserError(
                    f"data.source.{name} is {self.paths[name]}, the file that is learned from; measures on it would "
                    f"not tell how the model does on unseen pairs. Name another, or hold out pairs of the training "
                    f"file with data.source.{name}=null."
                )
        if _is_same_file(validation, test):
            log.warning(
                "data.source.validation and data.source.test are one file, %s: the epoch that is kept is chosen on the "
                "pairs that it is tested on.", test,
            )  # fmt: skip

    def load(self, problem: Problem, seed: int) -> Splits:
        """Read, check and split.

        Raises:
            MissingFileError: for a missing file.
            UserError: for contents that are no pairs of this problem; the message names the file.
        """
        named = {name: path for name, path in self.paths.items() if path is not None}
        parts = {name: read_checked(Path(path), problem, trust_y=not self.exact) for name, path in named.items()}
        missing = [name for name in self.paths if name not in named]
        train = parts["train"]
        if missing:
            total, take = len(train.x), self.held_out * len(missing)
            if take >= total:
                raise UserError(
                    f"{self.paths['train']}: {total} pairs are too few to hold out {take} for "
                    f"{' and '.join(missing)}; lower data.source.held_out or name files for them."
                )
            order = torch.randperm(total, generator=stream(Purpose.HELD_OUT, seed))
            pieces = order.split([self.held_out] * len(missing) + [total - take])
            for name, index in zip([*missing, "train"], pieces, strict=True):
                parts[name] = Batch(train.x[index], train.y[index])
        return Splits(parts["train"], parts["validation"], parts["test"])

    def look(self, problem: Problem) -> Looked:
        """What the training file shows: the conditions, and the directions of lines, where they are others than the
        problem's with a warning.

        Raises:
            MissingFileError, UserError: as :meth:`load`.
        """
        path = Path(str(self.paths["train"]))
        x, y = _read(path, problem)
        if not isinstance(problem.space, Lines):
            return Looked(y)
        found = found_directions(x, problem.space, path)
        if found != list(problem.space.directions):
            log.warning(
                "%s: its lines are %s, not %s as data.directions says; the directions of the data are used.",
                path, ", ".join(found), ", ".join(problem.space.directions),
            )  # fmt: skip
        return Looked(y, found)


def _is_same_file(first: str | None, second: str | None) -> bool:
    if first is None or second is None:
        return False
    one, other = Path(first), Path(second)
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def _read(path: Path, problem: Problem) -> Batch:
    """Pairs of one file in the project's shapes, with finite values."""
    raw_x, raw_y = read_pairs(path)
    try:
        x, y = arrange_pairs(raw_x, raw_y, problem)
        for name, values in (("x", x), ("y", y)):
            bad = ~values.isfinite().flatten(1).all(1)
            if bad.any():
                raise UserError(
                    f"{name} is not finite in {int(bad.sum())} of {len(x)} pairs, first in number {_first(bad)}."
                )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Batch(x, y)


def read_checked(path: Path, problem: Problem, *, trust_y: bool = False) -> Batch:
    """Pairs of one file, every x allowed by the problem's space and, unless ``trust_y``, every y equal to f(x).

    Raises:
        MissingFileError, UserError: see :meth:`PairFiles.load`.
    """
    x, y = _read(path, problem)
    space = problem.space
    if isinstance(space, Lines):
        found = found_directions(x, space, path)
        if found != list(space.directions):
            raise UserError(
                f"{path}: its lines are {', '.join(found)}, but those of the problem are "
                f"{', '.join(space.directions)}; set data.directions=[{','.join(found)}]."
            )
    check = problem.check(x.unsqueeze(1), y)
    outside = ~check.in_range[:, 0]
    if outside.any():
        entry = "data.range" if isinstance(space, Lines) else "data.bounds"
        raise UserError(
            f"{path}: x leaves its range in {int(outside.sum())} of {len(x)} pairs (it spans {x.min():.4g} to "
            f"{x.max():.4g}), first in number {_first(outside)}; set {entry}."
        )
    if isinstance(space, Lines) and check.straightness is not None and problem.gates.pearson is not None:
        flat = x.amax(-1) - x.amin(-1) < NEARLY_FLAT * (space.range[1] - space.range[0])
        bent = ((check.straightness[:, 0] <= problem.gates.pearson) & ~flat).any(1)
        if bent.any():
            raise UserError(
                f"{path}: {int(bent.sum())} of {len(x)} pairs have a line that is not straight (|Pearson| <= "
                f"{problem.gates.pearson}), first number {_first(bent)}."
            )
    _check_forward(x, y, problem, path, trust_y)
    return Batch(x, y)


def _first(mask: Tensor) -> int:
    return int(mask.nonzero()[0, 0])


def found_directions(x: Tensor, space: Lines, path: Path) -> list[str]:
    """The direction that each line of ``x`` ``(count, lines, points)`` has in all pairs.

    Raises:
        UserError: for a line that rises in some pairs and falls in others.
    """
    slopes = x[..., -1] - x[..., 0]
    steep = slopes.abs() > NEARLY_FLAT * (space.range[1] - space.range[0])
    found = []
    for line, default in enumerate(space.directions):
        signs = slopes[steep[:, line], line].sign()
        rising = int((signs > 0).sum())
        if 0 < rising < len(signs):
            raise UserError(
                f"{path}: x{line} rises in {rising} and falls in {len(signs) - rising} pairs; expected one of them."
            )
        found.append(default if len(signs) == 0 else ("rising" if rising else "falling"))
    return found


def _check_forward(x: Tensor, y: Tensor, problem: Problem, path: Path, trust_y: bool) -> None:
    with torch.no_grad():
        error = problem.forward(x) - y
    rmse = float(error.square().mean().sqrt())
    scale = max(float(y.square().mean().sqrt()), problem.gates.rmse)
    if rmse <= Y_TOLERANCE * scale:
        log.info("%s: %d pairs; y agrees with %s, RMSE %.2g.", path, len(x), problem.forward.name, rmse)
        return
    message = f"{path}: y differs from data.forward {problem.forward.name}, RMSE {rmse:.3g}"
    if not trust_y:
        raise UserError(f"{message}. Name the right function, or set data.source.trust_y=true if y carries noise.")
    log.warning("%s; kept, since data.source.trust_y is true.", message)
