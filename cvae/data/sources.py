"""Where line triples come from: simulated from the prior, or read from files."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cvae.data.batches import Batch
from cvae.data.layout import from_challenge_x, from_challenge_y, read_pairs
from cvae.problems import LineGeometry, Problem
from cvae.problems.forward import forward_from_config
from cvae.problems.geometry import DIRECTIONS
from cvae.seeds import stream

log = logging.getLogger(__name__)

# f(x) and the y of a file may differ by rounding, not by more than this share of the curve's scale
Y_TOLERANCE = 1e-3


class Splits(NamedTuple):
    """Training, validation and test triples."""

    train: Batch
    validation: Batch
    test: Batch


class Source(Protocol):
    """Gives the triples of a problem, and the problem as the data show it.

    ``trust_y`` accepts ``y`` that differ from ``f(x)``.
    """

    def load(self, problem: Problem, seed: int, trust_y: bool = False) -> tuple[Problem, Splits]: ...


def simulate(problem: Problem, count: int, generator: torch.Generator) -> Batch:
    """``count`` triples with lines from the uniform prior and ``y = f(x)``.

    Raises:
        ValueError: if ``f`` gives values that are not finite; the message shows such lines.
    """
    endpoints = problem.geometry.sample(count, generator)
    x = problem.geometry.to_lines(endpoints)
    with torch.no_grad():
        y = problem.forward(x)
    bad = ~y.isfinite().all(-1).all(-1)
    if bad.any():
        first = [[round(value, 4) for value in line] for line in endpoints[bad][0].tolist()]
        raise ValueError(
            f"data.forward: {problem.forward.name} is not finite for {int(bad.sum())} of {count} simulated solutions, "
            f"first for lines with the endpoints {first}. Change the expression or data.range."
        )
    return Batch(x, y)


class Simulation:
    """Triples simulated from the prior; the seed fixes them.

    Args:
        train, validation, test: numbers of triples.
    """

    def __init__(self, train: int = 100_000, validation: int = 3_000, test: int = 1_000) -> None:
        self.sizes = {"train": train, "validation": validation, "test": test}
        for name, size in self.sizes.items():
            if size < 1:
                raise ValueError(f"data.source.{name} is {size}; it must be at least 1.")

    def load(self, problem: Problem, seed: int, trust_y: bool = False) -> tuple[Problem, Splits]:
        """Simulate all splits, each from its own random stream.

        Raises:
            ValueError: if ``trust_y`` is set, since simulated y are exact.
        """
        if trust_y:
            raise ValueError("data.trust_y=true is for files; simulated y are exact.")
        sizes = self.sizes.values()
        return problem, Splits(*(simulate(problem, size, stream(seed, n)) for n, size in enumerate(sizes)))


class LineFiles:
    """Triples from files; see :func:`cvae.data.layout.read_pairs` for the formats.

    Args:
        train: the file to learn from.
        validation, test: files of their own, or null to split off ``held_out`` triples each from ``train``.
        held_out: how many triples a missing file takes from ``train``.

    Raises:
        ValueError: for no file to learn from, or one that is named for validation or test too.
    """

    def __init__(
        self,
        train: str | None,
        validation: str | None = None,
        test: str | None = None,
        held_out: int = 1_000,
    ) -> None:
        if train is None:
            raise ValueError("data.source.train names no file; set data.source.train=PATH.")
        self.paths = {"train": train, "validation": validation, "test": test}
        self.held_out = held_out
        for name in ("validation", "test"):
            if _is_same_file(train, self.paths[name]):
                raise ValueError(
                    f"data.source.{name} is {self.paths[name]}, the file that is learned from; measures on it would "
                    f"not tell how the model does on unseen triples. Name another, or hold out triples of the training "
                    f"file with data.source.{name}=null."
                )
        if _is_same_file(validation, test):
            log.warning(
                "data.source.validation and data.source.test are one file, %s: the epoch that is kept is chosen on the "
                "triples that it is tested on.", test,
            )  # fmt: skip

    def load(self, problem: Problem, seed: int, trust_y: bool = False) -> tuple[Problem, Splits]:
        """Read, check and split; the returned problem has the directions found in the data.

        Raises:
            FileNotFoundError: for a missing file.
            ValueError: for contents that are no line triples of this problem; the message names the file.
        """
        parts: dict[str, Batch] = {}
        for name, path in self.paths.items():
            if path is None:
                continue
            found, parts[name] = read_triples(Path(path), problem, trust_y=trust_y)
            if name != "train" and found.geometry.directions != problem.geometry.directions:
                raise ValueError(
                    f"{path}: its lines are {', '.join(found.geometry.directions)}, but those of "
                    f"{self.paths['train']} are {', '.join(problem.geometry.directions)}."
                )
            problem = found
        missing = [name for name, path in self.paths.items() if path is None]
        train = parts["train"]
        if missing:
            total, take = len(train.x), self.held_out * len(missing)
            if take >= total:
                raise ValueError(
                    f"{self.paths['train']}: {total} triples are too few to hold out {take} for "
                    f"{' and '.join(missing)}; lower data.source.held_out or name files for them."
                )
            order = torch.randperm(total, generator=stream(seed))
            pieces = order.split([self.held_out] * len(missing) + [total - take])
            for name, index in zip([*missing, "train"], pieces, strict=True):
                parts[name] = Batch(train.x[index], train.y[index])
        return problem, Splits(parts["train"], parts["validation"], parts["test"])


def _is_same_file(first: str | None, second: str | None) -> bool:
    if first is None or second is None:
        return False
    one, other = Path(first), Path(second)
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def read_triples(path: Path, problem: Problem, *, trust_y: bool = False) -> tuple[Problem, Batch]:
    """Line triples from one file, checked against ``problem``.

    Returns:
        The problem with the directions that the data show, and the triples.

    Raises:
        FileNotFoundError, ValueError: see :meth:`LineFiles.load`.
    """
    geometry = problem.geometry
    raw_x, raw_y = read_pairs(path)
    try:
        x = from_challenge_x(raw_x, geometry.lines, geometry.points)
        y = from_challenge_y(raw_y, problem.forward.conditions, geometry.points)
        _check_values(x, y, problem)
        problem = _with_directions(problem, _find_directions(x, problem), path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    _check_forward(x, y, problem, path, trust_y)
    return problem, Batch(x, y)


def _check_values(x: Tensor, y: Tensor, problem: Problem) -> None:
    for name, values in (("x", x), ("y", y)):
        bad = ~values.isfinite().flatten(1).all(1)
        if bad.any():
            raise ValueError(
                f"{name} is not finite in {int(bad.sum())} of {len(x)} triples, first in number {_first(bad)}."
            )
    low, high = problem.geometry.range
    outside = ((x < low - 1e-6) | (x > high + 1e-6)).flatten(1).any(1)
    if outside.any():
        raise ValueError(
            f"x leaves the range [{low}, {high}] in {int(outside.sum())} of {len(x)} triples (it spans "
            f"{x.min():.4g} to {x.max():.4g}), first in number {_first(outside)}; set data.range."
        )
    # a line so flat that rounding decides its correlation is straight all the same
    flat = x.amax(-1) - x.amin(-1) < 1e-4 * problem.geometry.span
    bent = ((problem.straightness(x).abs() <= problem.gates.pearson) & ~flat).any(1)
    if bent.any():
        raise ValueError(
            f"{int(bent.sum())} of {len(x)} triples have a line that is not straight (|Pearson| <= "
            f"{problem.gates.pearson}), first number {_first(bent)}."
        )


def _first(mask: Tensor) -> int:
    return int(mask.nonzero()[0, 0])


def _find_directions(x: Tensor, problem: Problem) -> tuple[str, ...]:
    slopes = x[..., -1] - x[..., 0]
    steep = slopes.abs() > 1e-4 * problem.geometry.span
    found = []
    for line in range(x.shape[1]):
        signs = slopes[steep[:, line], line].sign()
        rising = int((signs > 0).sum())
        if 0 < rising < len(signs):
            raise ValueError(
                f"x{line} rises in {rising} and falls in {len(signs) - rising} triples; expected one of them."
            )
        default = problem.geometry.directions[line]
        found.append(default if len(signs) == 0 else ("rising" if rising else "falling"))
    assert all(direction in DIRECTIONS for direction in found)
    return tuple(found)


def _with_directions(problem: Problem, found: tuple[str, ...], path: Path) -> Problem:
    geometry = problem.geometry
    if found == geometry.directions:
        return problem
    log.warning(
        "%s: its lines are %s, not %s as data.directions says; the directions of the data are used.",
        path, ", ".join(found), ", ".join(geometry.directions),
    )  # fmt: skip
    geometry = LineGeometry(geometry.points, found, geometry.range)
    return dataclasses.replace(
        problem, geometry=geometry, forward=forward_from_config(problem.forward.config, geometry)
    )


def _check_forward(x: Tensor, y: Tensor, problem: Problem, path: Path, trust_y: bool) -> None:
    with torch.no_grad():
        error = problem.forward(x) - y
    rmse = float(error.square().mean().sqrt())
    scale = max(float(y.square().mean().sqrt()), problem.gates.rmse)
    if rmse <= Y_TOLERANCE * scale:
        log.info("%s: %d triples; y agrees with %s, RMSE %.2g.", path, len(x), problem.forward.name, rmse)
        return
    message = f"{path}: y differs from data.forward {problem.forward.name}, RMSE {rmse:.3g}"
    if not trust_y:
        raise ValueError(f"{message}. Name the right function, or set data.trust_y=true if y carries noise.")
    log.warning("%s; kept, since data.trust_y is true.", message)
