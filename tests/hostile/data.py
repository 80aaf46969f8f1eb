"""Damaged and hostile files of data: conditions, pairs, solutions, series, images, and caches."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.challenge.score import score_file
from cvae.data import PairFiles, simulate
from cvae.data.curve_sources import CurveFiles, kept
from cvae.data.files import read_conditions
from cvae.data.idx import read_idx
from cvae.data.sea_series import read_series
from cvae.errors import clear_disk_errors
from cvae.inversion.reference import Budget, cached_reference_sets
from cvae.tasks import LightCurves, line_problem
from tests.hostile.campaign import Case
from tests.hostile.damage import NOISE, THINGS, archives, cuts, flips, members, pickles
from tests.hostile.good import Good

POINTS, PAIRS = 12, 8
PROBLEM = line_problem(POINTS, ["falling", "rising"], [0.0, 1.0], ["x0 * x1"], {"pearson": 0.9, "rmse": 0.05})
X, Y = simulate(PROBLEM, PAIRS, torch.Generator().manual_seed(0))
#: of the archives: damage tried on each kind of file
CUTS, FLIPS = 10, 18
IMAGES = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(range(32))


class Reader(NamedTuple):
    """A kind of file: its name, a good one, and what reads it."""

    name: str
    good: bytes
    read: Callable[[Path], Any]


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _pt(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _csv(array: Tensor) -> bytes:
    buffer = io.BytesIO()
    np.savetxt(buffer, array.numpy(), delimiter=",")
    return buffer.getvalue()


def _read_y(path: Path) -> Tensor:
    return read_conditions(path, PROBLEM)


def _read_pairs(path: Path) -> tuple[Tensor, ...]:
    splits = PairFiles(str(path), held_out=2).load(PROBLEM, 0)
    return tuple(tensor for split in splits for tensor in split)


def _score(path: Path) -> Mapping[str, float]:
    return score_file(path, PROBLEM, 1).measures


def _series() -> bytes:
    days = np.arange("1990-01-01", "1999-06-01", dtype="datetime64[D]")
    rows = [f"{day}," + ",".join(f"{index / 1000 + n:.3f}" for n in range(6)) for index, day in enumerate(days)]
    return "\n".join(["dates,s1,s2,s3,s4,s5,s6", *rows, ""]).encode()


def _curves(path: Path) -> Any:
    """Ten series, of which one lies at ``path``."""
    root = path.parent / "curves"
    for number in range(10):
        (root / f"{number:05}").mkdir(parents=True)
        (root / f"{number:05}" / "05.dat").write_text("".join(f"{t} {1 + t * number}\n" for t in range(5)))
    (root / "labels.dat").write_text("".join(f"0.4 0.4 0.1 {0.1 * (number + 1)}\n" for number in range(10)))
    target = root / ("labels.dat" if path.name.startswith("labels") else "00003/05.dat")
    target.unlink()
    path.rename(target)
    return CurveFiles(str(root), {"time": 0}).load(LightCurves(8), None)


PAIRED = TensorDataset(X, Y)
READERS = (
    Reader("y.npy", _npy(Y.numpy()), _read_y),
    Reader("y.npz", _npz(y=Y.numpy()), _read_y),
    Reader("y.pt", _pt(Y), _read_y),
    Reader("y.csv", _csv(Y[:, 0]), _read_y),
    Reader("pairs.pt", _pt(PAIRED), _read_pairs),
    Reader("pairs.npz", _npz(x=X.numpy(), y=Y.numpy()), _read_pairs),
    Reader("result.pt", _pt(PAIRED), _score),
    Reader("series.csv", _series(), lambda path: read_series(path).x),
    Reader("images.idx", IMAGES, lambda path: read_idx(path, 3)),
    Reader("05.dat", b"".join(b"%d %d\n" % (t, 1 + 3 * t) for t in range(5)), _curves),
    Reader("labels.dat", b"".join(b"0.4 0.4 0.1 %.1f\n" % (0.1 * (n + 1)) for n in range(10)), _curves),
)


def files(good: Good, rng: Random) -> Iterator[Case]:
    """Files of data that are damaged, of other kinds, or no files."""
    for reader in READERS:
        archive = reader.good[:2] == b"PK"
        for title, content in cuts(reader.good, CUTS, rng):
            # a table that is cut at the end of a line is a shorter table
            if archive or reader.name in ("y.npy", "images.idx"):
                yield case(reader, title, content)
        for title, content in flips(reader.good, FLIPS, rng) if archive else ():
            yield case(reader, title, content, same=True)
        for title, content in NOISE.items():
            yield case(reader, title, content)
        for title, make in THINGS.items():
            yield _thing(reader, title, make)
        for other in READERS:
            if other.good[:2] in (b"PK", b"\x93N") and Path(other.name).suffix != Path(reader.name).suffix:
                yield case(reader, f"is {other.name}", other.good)
        if not reader.name.endswith(".dat"):
            unnamed = f"{reader.name}: a zero byte in its name"
            yield Case(unnamed, lambda run, one=reader: one.read(run / f"a\0-{one.name}"), things=(reader.name,))
    for title, content in (*NOISE.items(), *((one.name, one.good) for one in READERS if one.name != "y.csv")):
        yield case(Reader("y.txt", b"", _read_y), f"is {title}", content)
    for reader in (one for one in READERS if Path(one.name).suffix in (".npz", ".npy", ".pt")):
        member = "y.npy" if reader.name.endswith("npz") else "archive/data.pkl"
        found = members(reader.good) if reader.good[:2] == b"PK" else ()
        for title, content in (*archives(member), *found):
            yield case(reader, title, content)
        yield from _pickled(reader, good)


def case(reader: Reader, title: str, content: bytes, same: bool = False) -> Case:
    def act(run: Path) -> Any:
        path = run / reader.name
        path.write_bytes(content)
        return reader.read(path)

    right = (lambda value: _equal(value, _expected(reader))) if same else None
    return Case(f"{reader.name}: {title}", act, right, things=(reader.name,))


EXPECTED: dict[str, Any] = {}


def _expected(reader: Reader) -> Any:
    """What is read from the good file."""
    if reader.name not in EXPECTED:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, reader.name)
            path.write_bytes(reader.good)
            EXPECTED[reader.name] = reader.read(path)
    return EXPECTED[reader.name]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _thing(reader: Reader, title: str, make: Any) -> Case:
    def act(run: Path) -> Any:
        path = run / reader.name
        make(path, run.parent / "guard")
        return reader.read(path)

    return Case(f"{reader.name}: {title}", act, things=(reader.name,))


def _pickled(reader: Reader, good: Good) -> Iterator[Case]:
    for title, _ in pickles(Path("guard")):

        def act(run: Path, title: str = title) -> Any:
            content = dict(pickles(run.parent / "guard"))[title]
            if reader.name.endswith(".npz"):
                content = _objects(content)
            elif reader.name.endswith(".npy"):
                content = b"\x93NUMPY\x01\x00" + _header("|O", "(1,)") + content
            (run / reader.name).write_bytes(content)
            return reader.read(run / reader.name)

        yield Case(f"{reader.name}: {title}", act, things=(reader.name,))


def _header(kind: str, shape: str) -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return len(text).to_bytes(2, "little") + text.encode()


def _objects(pickled: bytes) -> bytes:
    """An archive of an array of objects."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("x", "y"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + _header("|O", "(1,)") + pickled)
    return buffer.getvalue()


# --- contents


def _expanded(shape: tuple[int, ...]) -> Tensor:
    """A file of a kilobyte that asks for terabytes."""
    return torch.zeros(1).expand(shape)


def _tensors() -> dict[str, Any]:
    """What a file may hold in the place of conditions, as torch stores it."""
    huge = (10**9, 1, POINTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "complex": Y.to(torch.complex64),
            "quantized": torch.quantize_per_tensor(Y, 0.1, 0, torch.quint8),
            "sparse": Y.to_sparse(),
            "sparse rows": Y[:, 0].to_sparse_csr(),
            "sparse columns": Y[:, 0].to_sparse_csc(),
            "quantized by channel": torch.quantize_per_channel(
                Y, torch.ones(PAIRS), torch.zeros(PAIRS), 0, torch.qint8
            ),
            "nested, jagged": torch.nested.nested_tensor([*Y[:, 0]], layout=torch.jagged),
            "nested": torch.nested.nested_tensor([torch.zeros(2, POINTS), torch.zeros(3, POINTS)]),
            "meta": torch.empty(PAIRS, 1, POINTS, device="meta"),
            "expanded to terabytes": _expanded(huge),
            "meta of terabytes": torch.empty(huge, device="meta"),
            "no dimensions": torch.tensor(1.0),
            "no values": torch.zeros(0, 1, POINTS),
            "no points": torch.zeros(PAIRS, 1, 0),
            "one point too few": torch.zeros(PAIRS, 1, POINTS - 1),
            "seven dimensions": torch.zeros(1, 1, 1, 1, 1, PAIRS, POINTS + 1),
            "nan": Y * torch.nan,
            "one nan": torch.cat([Y[:-1], Y[-1:] * torch.nan]),
            "inf": Y / 0,
            "too large for single precision": Y.double() * 1e300,
            "a parameter that is nan": torch.nn.Parameter(Y * torch.nan),
            "float8": torch.zeros(PAIRS, 1, 5).to(torch.float8_e4m3fn),
            "None": None,
            "text": "hello",
            "a number": 5,
            "nothing in a list": [],
            "nothing in a dict": {},
            "a dict": {"a": Y},
            "a list of numbers": [1.0, 2.0],
            "a list of Nones": [None] * PAIRS,
            "pairs of different shapes": [(X[0], Y[0]), (X[1], Y[1, :, :3])],
            "one pair, 400,000 times": [(torch.zeros(2, 1000), torch.zeros(1, 1000))] * 400_000,
            "triples": [(X[0], Y[0], Y[0])],
            "a deep list": _deep(200),
            "a tensor dataset of one": TensorDataset(X[:, :1, :5]),
            "a tensor dataset of text": _dataset("text"),
            "a tensor dataset of nothing": _dataset(None),
            "a tensor dataset of a number": _dataset(5),
            "a tensor dataset of unequal lengths": _dataset((X, Y[:3, :, :4])),
            "a size": torch.Size([3, 4]),
            "a dtype": torch.float32,
            "a device": torch.device("cpu"),
            "bytes": b"abc",
        }


def _deep(depth: int) -> Any:
    content: Any = [1]
    for _ in range(depth):
        content = [content]
    return content


def _dataset(tensors: Any) -> TensorDataset:
    dataset = TensorDataset(torch.zeros(1))
    dataset.tensors = tensors
    return dataset


def _arrays() -> dict[str, Any]:
    """The same, as numpy stores it."""
    y = Y.numpy()
    return {
        "complex": y.astype(complex),
        "dates": np.full((PAIRS, POINTS), "2000-01-01", "datetime64[D]"),
        "durations": np.full((PAIRS, POINTS), 3, "timedelta64[s]"),
        "structured": np.zeros((PAIRS,), [("a", "f4", (POINTS,)), ("b", "i4")]),
        "names of fields that steer": np.zeros((PAIRS,), [("a", "f4"), ("b\x1b[31m", "f4")]),
        "text": np.full((PAIRS, POINTS), "0.5"),
        "bytes": np.full((PAIRS, POINTS), b"0.5"),
        "raw": np.zeros((PAIRS, POINTS), "V4"),
        "no dimensions": np.float32(1),
        "no values": np.zeros((0, 1, POINTS), "f4"),
        "no points": np.zeros((PAIRS, 1, 0), "f4"),
        "one point too few": np.zeros((PAIRS, 1, POINTS - 1), "f4"),
        "seven dimensions": np.zeros((1,) * 5 + (PAIRS, POINTS + 1)),
        "nan": y * np.nan,
        "inf": y + np.inf,
        "too large for single precision": y.astype(float) * 1e300,
        "huge numbers": np.full((PAIRS, POINTS + 1), np.finfo("f8").max),
    }


def _headers() -> dict[str, bytes]:
    """Headers of arrays that say something else than what follows."""
    body = Y.numpy().tobytes()
    said = {
        "terabytes": _header("<f4", "(1000000, 1000000)"),
        "more than it has": _header("<f4", f"({PAIRS * 2}, 1, {POINTS})"),
        "a negative shape": _header("<f4", "(-1, 12)"),
        "a shape of text": _header("<f4", "('a',)"),
        "a shape beyond 64 bits": _header("<f4", f"({10**30},)"),
        "zero times terabytes": _header("<f4", "(0, 1000000000000)"),
        "no kind": _header("nope", "(8, 12)"),
        "a call in the header": b"\x76\x00__import__('os').system('touch ran')".ljust(118 + 2),
        "a header of four gigabytes": b"\xff\xff",
        "a deep header": (9000).to_bytes(2, "little") + (b"(" * 4500 + b")" * 4500),
    }
    return {title: b"\x93NUMPY\x01\x00" + header + body for title, header in said.items()}


def contents(good: Good, rng: Random) -> Iterator[Case]:
    """Whole files that hold something else."""
    for title, content in _tensors().items():
        stored = _pt(content)
        yield case(READERS[2], title, stored)
        if title not in ("None", "text", "a number", "a size", "a dtype", "a device", "bytes"):
            for name, as_x in (("y", False), ("x", True)):
                paired = _pt(_dataset((content, Y) if as_x else (X, content)))
                yield case(READERS[4], f"{title} as {name}", paired)
        yield case(READERS[6], title, stored)
        yield case(READERS[6], f"{title} beside x", _pt(_dataset((X, content))))
    for title, array in _arrays().items():
        yield case(READERS[0], title, _npy(array))
        yield case(READERS[1], title, _npz(y=array))
        yield case(READERS[5], f"{title} as y", _npz(x=X.numpy(), y=array))
        yield case(READERS[5], f"{title} as x", _npz(x=array, y=Y.numpy()))
    for title, content in _headers().items():
        yield case(READERS[0], title, content)
        yield case(READERS[1], title, _member("y.npy", content))
    for arrays in ({"a": 1, "b": 2}, {"x": X.numpy()}, {"y": 1, "x": X.numpy()}, {}):
        yield case(READERS[5], f"arrays {', '.join(arrays)}", _npz(**arrays))
    yield from _wrong_pairs()


def _member(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _wrong_pairs() -> Iterator[Case]:
    """Pairs of the right shapes that are no pairs of this problem."""
    reader = READERS[4]
    wrong = {
        "y of another function": (X, X[:, :1] + X[:, 1:]),
        "y in another order": (X, Y.roll(1, 0)),
        "x out of range": (X + 2, (X[:, :1] + 2) * (X[:, 1:] + 2)),
        "bent lines": (X**5, (X[:, :1] * X[:, 1:]) ** 5),
        "lines in both directions": (torch.cat([X[:4], X[4:].flip(1)]), Y),
        "x of noise": (torch.rand(X.shape, generator=torch.Generator().manual_seed(0)), Y),
        "fewer y": (X, Y[:4]),
        "too few pairs": (X[:3], Y[:3]),
        "one x that is nan": (torch.cat([X[:-1], X[-1:] * torch.nan]), Y),
        "one y that is inf": (X, torch.cat([Y[:-1], Y[-1:] / 0])),
    }
    for title, (x, y) in wrong.items():
        yield case(reader, title, _pt(_dataset((x, y))))


# --- caches


BUDGET = Budget(simulations=500, starts=20, kept=20)


def caches(good: Good, rng: Random) -> Iterator[Case]:
    """Caches that are damaged or hold something else: what they keep is found anew."""
    y = Y[:2]
    fresh = cached_reference_sets(PROBLEM, y, None, budget=BUDGET)
    stored = _pt([(one.theta, one.finite) for one in fresh])
    theta = fresh[0].theta

    def read(folder: Path) -> Any:
        return [(one.theta, one.finite) for one in cached_reference_sets(PROBLEM, y, folder, budget=BUDGET)]

    wrong = {
        "nan": [(theta * torch.nan, False)] * 2,
        "fewer sets": [(theta, False)],
        "more sets": [(theta, False)] * 3,
        "no sets": [],
        "another number of parameters": [(theta[:, :3], False)] * 2,
        "one dimension": [(theta.flatten(), False)] * 2,
        "text": "hello",
        "a dict": {"a": theta},
        "numbers": [(1, False)] * 2,
        "no flag": [(theta, "maybe")] * 2,
        "out of range": [(theta + 5, False)] * 2,
        "complex": [(theta.to(torch.complex64), False)] * 2,
        "whole numbers": [(theta.long(), False)] * 2,
        "meta": [(torch.empty(5, 4, device="meta"), False)] * 2,
        "terabytes": [(_expanded((10**12, 4)), False)] * 2,
        "double precision": [(theta.double(), False)] * 2,
        "sparse": [(theta.to_sparse(), False)] * 2,
        "a number for a flag": [(theta, 3)] * 2,
        "three parts": [(theta, False, 1)] * 2,
        "a tensor": theta,
        "nothing": None,
    }
    damaged = [*cuts(stored, 10, rng), *flips(stored, 25, rng), *NOISE.items(), *archives("archive/data.pkl")]
    for title, content in [*damaged, *((title, _pt(one)) for title, one in wrong.items())]:
        yield _cache(f"reference sets: {title}", lambda path, guard, content=content: path.write_bytes(content), read)
    for title, _ in pickles(Path("guard")):
        yield _cache(
            f"reference sets: {title}",
            lambda path, guard, title=title: path.write_bytes(dict(pickles(guard))[title]),
            read,
        )
    for title, make in THINGS.items():
        yield _cache(f"reference sets: {title}", make, read)


def keeping(good: Good, rng: Random) -> Iterator[Case]:
    """Light curves and magnification maps that are kept: damaged ones are made anew."""
    made = {
        "curves": {"x": X[:, 0], "y": Y[:, 0, :1]},
        "map": {"magnification": torch.ones(4, 4), "caustics": torch.ones(2, 2).bool()},
    }
    for kind, arrays in made.items():
        (first, values), (second, _) = arrays.items()
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}

        def read(folder: Path, kind: str = kind, arrays: Any = arrays, shapes: Any = shapes) -> Any:
            return sorted(kept(folder, kind, {"version": 1}, lambda: dict(arrays), shapes).items())

        wrong = {
            "text": "hello",
            "a list": [values],
            "other names": {"a": values},
            "one missing": {second: arrays[second]},
            "one more": arrays | {"more": values},
            "nan": arrays | {first: values * torch.nan},
            "another shape": arrays | {first: values[:, :-1]},
            "terabytes": arrays | {first: _expanded((10**6, 10**6))},
            "a text among them": arrays | {first: "text"},
        }
        damaged = [*flips(_pt(arrays), 10, rng), *cuts(_pt(arrays), 5, rng)]
        for title, content in [*damaged, *((title, _pt(one)) for title, one in wrong.items())]:
            yield _cache(f"{kind}: {title}", lambda path, guard, content=content: path.write_bytes(content), read)


def _cache(title: str, damage: Callable[[Path, Path], object], read: Callable[[Path], Any]) -> Case:
    """What is read from a damaged cache must be what is found without one."""
    first: list[Any] = []

    def act(run: Path) -> Any:
        first[:] = [read(run)]
        (path,) = run.iterdir()
        path.unlink()
        damage(path, run.parent / "guard")
        # as around all work
        with clear_disk_errors(run):
            return read(run)

    return Case(title, act, lambda value: _equal(value, first[0]))
