"""Where light curves come from: simulated with caustic crossings, or read from folders."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from cvae.archives import cached, save
from cvae.config import digest
from cvae.data import microlensing
from cvae.data.files import is_number
from cvae.errors import MissingFileError, UserError
from cvae.files import read_text
from cvae.seeds import Purpose, check_seed, stream
from cvae.tasks import LightCurves

log = logging.getLogger(__name__)

#: of the simulation; counts up when its results change, so that no cache serves old ones
VERSION = 1
#: rays per pixel of a map, where nothing bends them: curves are good to 0.002 dex at the smallest radius
RAYS = 0.5
#: side of the square that tracks stay in, in lengths of a track
SPAN = 1.5
#: source radii in each map
RADII = 16


class Curves(NamedTuple):
    """Curves ``x`` ``(count, points)``, conditions ``y`` ``(count, 1)``, and the map of each, ``(count,)``."""

    x: Tensor
    y: Tensor
    map: Tensor

    @property
    def first(self) -> Tensor:
        """Whether a curve is from the first half of the maps, bool ``(count,)``."""
        maps = self.map.unique()
        return torch.isin(self.map, maps[: len(maps) // 2])


class Source(Protocol):
    """Where light curves come from."""

    def load(self, task: LightCurves, cache: Path | None) -> dict[str, Curves]:
        """Curves named ``train``, ``validation`` and ``test``, and further sets outside the range of the training.

        The sets share no map, and their order is random.
        """


class MapCounts(TypedDict):
    """Types of ``data.source.maps``."""

    train: int
    validation: int
    test: int
    beyond: int


class SimulatedCurves:
    """Light curves of sources that move behind random stars, see :mod:`cvae.data.microlensing`.

    Args:
        kappa: convergence of smooth matter and stars together.
        gamma: shear.
        smooth: share of ``kappa`` that is smooth.
        length: of a track in Einstein radii.
        maps: magnification maps of ``train``, ``validation``, ``test``, and of each set in ``beyond``.
        curves: for each map.
        beyond: further sets to compare extrapolated draws with: names and ranges of the source radius.
        seed: of maps and tracks. It is not the seed of the training, so that trainings share their maps.

    Raises:
        UserError: for a number that makes no sense.
    """

    def __init__(
        self,
        kappa: float,
        gamma: float,
        smooth: float,
        length: float,
        maps: MapCounts,
        curves: int,
        beyond: Mapping[str, Sequence[float]] | None = None,
        seed: int = 0,
    ) -> None:
        if not kappa > 0 or not 0 <= smooth < 1:
            raise UserError(
                f"data.source has kappa={kappa} and smooth={smooth}; kappa > 0 and 0 <= smooth < 1 must hold."
            )
        if not length > 0 or curves < 1:
            raise UserError(f"data.source has length={length} and curves={curves}; both must be positive.")
        # two halves of the test are compared
        for name, count, least in (
            ("train", maps["train"], 1),
            ("validation", maps["validation"], 1),
            ("test", maps["test"], 2),
            ("beyond", maps["beyond"], 2),
        ):
            if count < least:
                raise UserError(f"data.source.maps.{name} is {count}; it must be at least {least}.")
        check_seed("data.source.seed", seed)
        microlensing.half_widths(kappa, gamma, length)
        self.field = {"kappa": kappa, "gamma": gamma, "smooth": smooth}
        self.length, self.maps, self.curves, self.seed = length, maps, curves, seed
        for name, radii in (beyond or {}).items():
            if len(radii) != 2 or not 0 < radii[0] < radii[1] < math.inf:
                raise UserError(f"data.source.beyond.{name} is {list(radii)}; it must be two rising positive numbers.")
        self.beyond = {name: (float(low), float(high)) for name, (low, high) in (beyond or {}).items()}

    def load(self, task: LightCurves, cache: Path | None) -> dict[str, Curves]:
        """All sets; maps and curves are kept in ``cache``."""
        if task.radii is None:
            raise UserError("data.radii is null; curves are simulated for a range of source radii, data.radii=[0.1,1].")
        ranges = {name: (task.radii, self.maps[name]) for name in ("train", "validation", "test")}  # type: ignore[literal-required]
        ranges |= {name: (radii, self.maps["beyond"]) for name, radii in self.beyond.items()}
        described = {"version": VERSION, "field": self.field, "length": self.length, "seed": self.seed}
        sets, number = {}, 0
        for name, (radii, count) in ranges.items():
            parts = []
            for _ in range(count):
                about = described | {"radii": radii, "number": number}
                curves = {"curves": self.curves, "points": task.points}
                shapes = {"x": (self.curves, task.points), "y": (self.curves, 1)}
                make = partial(self._curves, task.points, about, cache)
                stored = kept(cache, "curves", about | curves, make, shapes)
                parts.append(Curves(stored["x"], stored["y"], torch.full((len(stored["x"]),), number)))
                number += 1
            sets[name] = shuffled(Curves(*map(torch.cat, zip(*parts, strict=True))), self.seed)
        return sets

    def _curves(self, points: int, about: Mapping[str, Any], cache: Path | None) -> dict[str, Tensor]:
        """Curves of one map, of which ``about`` says everything."""
        (low, high), number = about["radii"], about["number"]
        side = SPAN * self.length + 2 * high
        pixels, marks = microlensing.sides(side, low / microlensing.LEAST_PIXELS)
        shapes = {"magnification": (pixels, pixels), "caustics": (marks, marks)}
        stored = kept(cache, "map", about, lambda: self._map(side, low, number), shapes)
        found = microlensing.Map(stored["magnification"], stored["caustics"], side)
        generator = stream(Purpose.SIMULATION, self.seed, number, 1)
        radii = min(RADII, self.curves)
        each = math.ceil(self.curves / radii)
        # one in each of as many equal parts of the logarithm of the range
        share = (torch.arange(radii) + torch.rand(radii, generator=generator)) / radii
        p = low * (high / low) ** share
        tracks = microlensing.crossing_tracks(
            found, radii * each, SPAN * self.length, self.length, points, generator
        ).unflatten(0, (radii, each))
        x = microlensing.light_curves(found, tracks, p).log10()
        y = p.log10().view(-1, 1, 1).expand(-1, each, 1)
        # strides over the radii, so that what is cut off is of all of them
        return {
            "x": x.transpose(0, 1).flatten(0, 1)[: self.curves],
            "y": y.transpose(0, 1).flatten(0, 1)[: self.curves],
        }

    def _map(self, side: float, smallest: float, number: int) -> dict[str, Tensor]:
        microlensing.check_installed()
        if number == 0:
            log.info("simulating magnification maps, one or two seconds each; they are kept for later runs.")
        lens = microlensing.random_lens(
            **self.field, side=side, generator=stream(Purpose.SIMULATION, self.seed, number)
        )
        half = microlensing.half_widths(self.field["kappa"], self.field["gamma"], side)
        found = microlensing.magnification_map(lens, side, smallest / microlensing.LEAST_PIXELS, half, RAYS)
        return {"magnification": found.magnification, "caustics": found.caustics}


def kept(
    cache: Path | None,
    kind: str,
    described: Mapping[str, Any],
    make: Callable[[], dict[str, Tensor]],
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Tensor]:
    """Tensors of these ``shapes`` by name from the folder ``cache``, or made and kept there under a hash of what
    describes them."""
    if cache is None:
        return make()
    path = cache / f"{kind}-{digest(described)}.pt"
    stored: dict[str, Tensor] | None = cached(
        path,
        lambda content: (
            {name: tuple(values.shape) for name, values in content.items()} == dict(shapes)
            and all(bool(values.isfinite().all()) for values in content.values())
        ),
    )
    if stored is not None:
        return stored
    found = make()
    save(path, {name: values.contiguous() for name, values in found.items()})
    return found


def shuffled(curves: Curves, seed: int) -> Curves:
    """The curves in a random order, the same for the same seed."""
    order = torch.randperm(len(curves.x), generator=stream(Purpose.HELD_OUT, seed))
    return Curves(*(part[order] for part in curves))


class SeriesFormat(TypedDict, total=False):
    """Types of ``data.source.series``."""

    file: str
    value: int
    time: int | None
    scale: Literal["magnification", "log10", "magnitude"]


class CurveFiles:
    """Light curves from folders ``root/NNNNN/05.dat``, and their parameters from ``root/labels.dat``.

    Assumed, and to be changed by the arguments: the folders are named by numbers; row i of the labels belongs to the
    i-th folder in the order of the numbers; a series has one row for each time, equally spaced, with the magnification
    in its last column.

    Args:
        root: the folder.
        series: ``file``, its name; ``value``, the column of the values; ``time``, the column of the times, from which
            equal spacing is made, or null; ``scale`` of the values: ``magnification``, ``log10`` of it, or
            ``magnitude`` (brighter is smaller).
        labels: name of the file of the labels.
        columns: of the labels; ``p`` must be among them.
        map_columns: labels that are alike for curves of one map; these stay together in training, validation or test.
            Empty if every curve has a map of its own.
        held_out: share of the maps for validation, and as much for test.
        seed: of the choice of these.

    Raises:
        UserError: for columns without p, an unknown scale, or a share that leaves nothing.
    """

    def __init__(
        self,
        root: str,
        series: SeriesFormat | None = None,
        labels: str = "labels.dat",
        columns: Sequence[str] = ("k", "g", "s", "p"),
        map_columns: Sequence[str] = (),
        held_out: float = 0.15,
        seed: int = 0,
    ) -> None:
        check_seed("data.source.seed", seed)
        unknown = [name for name in ("p", *map_columns) if name not in columns]
        if unknown:
            raise UserError(f"data.source.columns is {list(columns)}; it must name {unknown[0]}.")
        if not 0 < held_out < 0.5:
            raise UserError(f"data.source.held_out is {held_out}; it must be above 0 and below 0.5.")
        self.root, self.labels, self.columns = Path(root), labels, list(columns)
        self.series: SeriesFormat = {"file": "05.dat", "value": -1, "time": None, "scale": "magnification"}
        self.series.update(series or {})
        if self.series["scale"] not in ("magnification", "log10", "magnitude"):
            raise UserError(
                f"data.source.series.scale is {self.series['scale']}; it must be magnification, log10 or magnitude."
            )
        self.map_columns, self.held_out, self.seed = list(map_columns), held_out, seed

    def load(self, task: LightCurves, cache: Path | None) -> dict[str, Curves]:
        """The three sets, read anew each time.

        Raises:
            MissingFileError: for a folder or file that is not there.
            UserError: for an empty folder, other numbers of folders and labels, a file that is no table of numbers,
                values that are not finite or not positive, and too few maps for three sets.
        """
        if not self.root.is_dir():
            raise MissingFileError(f"data.source.root is {self.root}; there is no such folder.")
        folders = sorted((one for one in self.root.iterdir() if one.is_dir() and one.name.isdecimal()), key=_number)
        if not folders:
            raise UserError(f"data.source.root is {self.root}; it holds no folders named by numbers, such as 00000.")
        labels = _table(self.root / self.labels)
        if labels.shape != (len(folders), len(self.columns)):
            raise UserError(
                f"{self.root / self.labels}: has {labels.shape[0]} rows of {labels.shape[1]} columns; expected "
                f"{len(folders)} rows, one for each numbered folder beside it, of {len(self.columns)} columns "
                f"({' '.join(self.columns)}, data.source.columns)."
            )
        p = labels[:, self.columns.index("p")]
        wrong = np.flatnonzero(~(np.isfinite(labels).all(1) & (p > 0)))
        if len(wrong):
            raise UserError(
                f"{self.root / self.labels}: row {wrong[0] + 1} holds {labels[wrong[0]].tolist()}; p must be positive."
            )
        x = np.stack([self._read(folder / self.series["file"], task.points) for folder in folders])
        chosen = labels[:, [self.columns.index(name) for name in self.map_columns]]
        maps = np.unique(chosen, axis=0, return_inverse=True)[1] if self.map_columns else np.arange(len(folders))
        return self._split(Curves(*(torch.from_numpy(part) for part in (x, np.log10(p)[:, None], maps.reshape(-1)))))

    def _read(self, path: Path, points: int) -> np.ndarray:
        """One series as log10 magnification, at ``points`` equally spaced times."""
        table = _table(path)
        named = [self.series["value"]] + ([] if self.series["time"] is None else [self.series["time"]])
        if len(table) < 2 or not all(-table.shape[1] <= column < table.shape[1] for column in named):
            raise UserError(
                f"{path}: has {table.shape[0]} rows of {table.shape[1]} columns; expected at least 2 rows, and the "
                f"columns that data.source.series names: {', '.join(map(str, named))}."
            )
        values = table[:, self.series["value"]]
        time = np.arange(len(table)) if self.series["time"] is None else table[:, self.series["time"]]
        scale = self.series["scale"]
        # 38 is the largest power of ten of single precision
        bad = ~(np.abs(values) < 1e38) | (values <= 0 if scale == "magnification" else False)
        if bad.any():
            value = values[np.flatnonzero(bad)[0]]
            raise UserError(f"{path}: holds the {scale} {value}; set data.source.series.scale or mend the file.")
        if not (np.diff(time) > 0).all() or not np.isfinite(time).all():
            raise UserError(f"{path}: its times, column {self.series['time']}, do not rise from row to row.")
        if scale != "log10":
            values = np.log10(values) if scale == "magnification" else -0.4 * values
        return np.interp(np.linspace(time[0], time[-1], points), time, values)

    def _split(self, curves: Curves) -> dict[str, Curves]:
        maps = curves.map.unique()
        count = math.ceil(self.held_out * len(maps))
        if len(maps) < max(2 * count + 1, 5) or count < 1:
            raise UserError(
                f"{self.root}: has {len(maps)} maps, too few for training, validation and test; see "
                "data.source.map_columns and data.source.held_out."
            )
        maps = maps[torch.randperm(len(maps), generator=stream(Purpose.HELD_OUT, self.seed))]
        parts = {"test": maps[:count], "validation": maps[count : 2 * count], "train": maps[2 * count :]}
        found = {}
        for name, chosen in parts.items():
            mask = torch.isin(curves.map, chosen)
            found[name] = shuffled(Curves(curves.x[mask].float(), curves.y[mask].float(), curves.map[mask]), self.seed)
        return found


def _number(folder: Path) -> int:
    return int(folder.name)


def _table(path: Path) -> np.ndarray:
    """The numbers in a file, ``(rows, columns)``.

    Raises:
        MissingFileError: if there is no such file.
        UserError: if it is empty or holds anything but a table of numbers.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        cells = line.split("#")[0].replace(",", " ").split()
        if not all(map(is_number, cells)):
            raise UserError(f"{path}: must be a table of numbers, but line {number} is {line!r}.")
        row = list(map(float, cells))
        if row and rows and len(row) != len(rows[0]):
            raise UserError(
                f"{path}: must be a table of numbers, but line {number} has {len(row)}, those before {len(rows[0])}."
            )
        rows += [row] if row else []
    if not rows:
        raise UserError(f"{path}: holds no numbers.")
    return np.array(rows)
