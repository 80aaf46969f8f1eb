"""Hostile and damaged files of data: arrays, tensors, tables, pictures, caches, records and logs."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.challenge.score import read_submission
from cvae.data.curve_sources import CurveFiles, kept
from cvae.data.files import read_conditions, read_pairs
from cvae.data.idx import read_idx
from cvae.data.sea_series import read_series
from cvae.errors import DiskError, UserError, clear_disk_errors
from cvae.inversion.reference import Budget, cached_reference_sets
from cvae.runs import folder as folders
from cvae.runs.compare import print_tables, read_runs, summarize
from cvae.runs.loggers import build_loggers
from cvae.tasks import LightCurves, line_problem

POINTS, ROWS = 7, 4
PROBLEM = line_problem(POINTS, ("falling", "rising"), (0.0, 1.0), ["x0 * x1"], {"rmse": 0.05, "pearson": 0.9})
REFUSED = "refused"


class FileCase(NamedTuple):
    """One hostile file.

    Attributes:
        name: what is wrong with it.
        act: makes the file in an empty folder and reads it.
        right: whether what ``act`` gives is right, where the file need not be refused; None where it must be.
        thing: what the message of a refusal must name.
    """

    name: str
    act: Callable[[Path], Any]
    right: Callable[[Any], bool] | None = None
    thing: str = ""


def run(case: FileCase, folder: Path) -> str:
    """Try one file in an empty folder; what was said where it was refused.

    Raises:
        AssertionError: if it was used although wrong, or if the message does not name the file or is not in our words.
        Exception: whatever else is met, which is a traceback for a user.
    """
    try:
        found = case.act(folder)
    except (UserError, DiskError) as error:
        told = str(error)
        assert case.thing in told, f"{case.name}: the message does not name {case.thing}: {told}"
        foreign = [
            word for word in ("weights_only", "Errno", "add_safe_globals", "torch.load", "NoneType") if word in told
        ]
        assert not foreign, f"{case.name}: {told}"
        assert all(one.isprintable() or one in "\n\t" for one in told), f"{case.name}: {told!r}"
        return told
    finally:
        assert not (folder / "ran").exists(), f"{case.name}: code was run"
    assert case.right is not None, f"{case.name}: accepted although wrong"
    assert case.right(found), f"{case.name}: not used rightly: {found!r}"
    return ""


def cases(folder: Path, generator: Random) -> Iterator[FileCase]:
    """All hostile files.

    Args:
        folder: an empty one, for what they are made from.
        generator: chooses where files are cut and which bits are flipped.
    """
    yield from tensors()
    yield from payloads()
    yield from arrays()
    yield from other_formats()
    yield from places()
    yield from damaged(generator)
    yield from tables()
    yield from idx_files(generator)
    yield from caches(folder, generator)
    yield from records()
    yield from logs(generator)


# --- what good files hold

X = torch.linspace(1, 0, POINTS).expand(ROWS, 1, POINTS) * torch.linspace(0.5, 1, ROWS).view(-1, 1, 1)
LINES = torch.cat([X, X.flip(-1)], dim=1).contiguous()
CURVES = PROBLEM.forward(LINES)[:, 0].contiguous()
#: what reads pairs and conditions
READERS: Mapping[str, Callable[[Path], Any]] = {
    "pairs": read_pairs,
    "conditions": lambda path: read_conditions(path, PROBLEM),
    "submission": lambda path: read_submission(path, PROBLEM, draws=1),
}


def bytes_of(content: Any, **options: Any) -> bytes:
    """What ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def npz(compressed: bool = False, **contents: Any) -> bytes:
    """What ``numpy.savez`` writes."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **contents)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    """What ``numpy.save`` writes."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def data_set(*parts: Any) -> TensorDataset:
    """A data set whose parts are not checked."""
    found = TensorDataset(torch.zeros(1))
    found.tensors = parts
    return found


def _case(
    name: str, file: str, content: bytes, read: Callable[[Path], Any], right: Callable[[Any], bool] | None = None
) -> FileCase:
    def act(folder: Path) -> Any:
        (folder / file).write_bytes(content)
        return read(folder / file)

    return FileCase(f"{file}: {name}", act, right, file)


# --- tensors


def strange(good: Tensor) -> Iterator[tuple[str, Any]]:
    """Tensors that are no dense real numbers, in place of a good one."""
    yield "complex", good.to(torch.complex64)
    yield "complex of double precision", good.to(torch.complex128)
    yield "quantized", torch.quantize_per_tensor(good, 0.1, 0, torch.quint8)
    yield "quantized by channel", torch.quantize_per_channel(good, torch.ones(ROWS), torch.zeros(ROWS), 0, torch.qint8)
    yield "sparse", good.to_sparse()
    yield "sparse by rows", good.flatten(1).to_sparse_csr()
    yield "sparse by columns", good.flatten(1).to_sparse_csc()
    yield "nested", torch.nested.nested_tensor(list(good))
    yield "nested, jagged", torch.nested.nested_tensor(list(good.flatten(1)), layout=torch.jagged)
    yield "meta", good.to("meta")
    yield "expanded to terabytes", good[:1].expand(10**11, *good.shape[1:])
    yield "expanded in its last axis", good[..., :1].expand(*good.shape[:-1], 10**12)
    yield "of eight bits", good.to(torch.float8_e4m3fn)
    yield from (("text", "1.0"), ("nothing", None), ("a number", 1.0), ("an array", [[1.0]]), ("bytes", b"1"))


def tensors() -> Iterator[FileCase]:
    """Strange tensors wherever a ``.pt`` file may have one."""
    for name, bad in strange(CURVES):
        for kind, content in {
            "bare": bad,
            "y of a data set": data_set(LINES, bad),
            "y of pairs": [(LINES[0], bad)] * 3,
            "in a dict": {"y": bad},
            "x of a data set": data_set(bad, CURVES),
            "x of pairs": [(bad, CURVES[0])] * 3,
        }.items():
            # conditions are those of y alone
            readers = ("conditions", "pairs") if "x of" not in kind or name in KINDS else ("pairs",)
            for reader in readers:
                yield _case(f"{name}, {kind}, as {reader}", "a.pt", bytes_of(content), READERS[reader])
    pair = (torch.zeros(2, 1000), torch.zeros(1, 1000))
    many = [pair] * 400_000
    for reader in ("conditions", "pairs"):
        yield _case(f"one pair, 400,000 times, as {reader}", "a.pt", bytes_of(many), READERS[reader])
    nested: list[Any] = [CURVES]
    for _ in range(30):
        nested = [nested, nested]
    yield _case("a list of lists, doubled thirty times", "a.pt", bytes_of(nested), READERS["pairs"])
    for name, bad in (("nan", torch.nan), ("inf", torch.inf)):
        curves = CURVES.clone()
        curves[1, 2] = bad
        for reader in ("conditions", "submission"):
            yield _case(f"{name}, as {reader}", "a.pt", bytes_of(data_set(LINES, curves)), READERS[reader])
    for name, parts in {
        "no parts": (),
        "one part": (CURVES,),
        "other lengths": (LINES, CURVES[:2]),
        "none": (LINES[:0], CURVES[:0]),
        "a scalar": (torch.tensor(1.0), torch.tensor(1.0)),
        "too many axes": (LINES[..., None, None, None], CURVES[..., None, None, None]),
    }.items():
        yield _case(f"{name}, as submission", "a.pt", bytes_of(data_set(*parts)), READERS["submission"])


#: of the strange tensors those that are refused wherever they stand
KINDS = ("complex", "quantized", "sparse", "nested", "meta", "expanded to terabytes")


class Payload:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def payloads() -> Iterator[FileCase]:
    """Pickles that ask for code, wherever a file may have one."""

    def act(folder: Path, call: Callable[[str], Payload], wrap: Callable[[Any], Any], file: str, write: Any) -> Any:
        write(folder / file, wrap(call(str(folder / "ran"))))
        return read_pairs(folder / file)

    calls: dict[str, Callable[[str], Payload]] = {
        "os.mkdir": lambda ran: Payload(os.mkdir, ran),
        "os.system": lambda ran: Payload(os.system, f"touch {ran}"),
        "builtins.open": lambda ran: Payload(open, ran, "w"),
        "builtins.eval": lambda ran: Payload(eval, f"open({ran!r}, 'w')"),
        "torch.save": lambda ran: Payload(torch.save, torch.zeros(1), ran),
        "numpy.save": lambda ran: Payload(np.save, ran, np.zeros(1)),
    }
    wraps: dict[str, Callable[[Any], Any]] = {
        "bare": lambda bad: bad,
        "in a pair": lambda bad: [(LINES[0], bad)],
        "as a key": lambda bad: {("y", bad): CURVES},
        "in a data set": lambda bad: data_set(LINES, bad),
    }
    for name, call in calls.items():
        for kind, wrap in wraps.items():
            yield FileCase(
                f"a.pt: {name}, {kind}",
                partial(act, call=call, wrap=wrap, file="a.pt", write=lambda path, bad: torch.save(bad, path)),
                thing="a.pt",
            )
            yield FileCase(
                f"a.pt: {name}, {kind}, a bare pickle",
                partial(
                    act, call=call, wrap=wrap, file="a.pt",
                    write=lambda path, bad: path.write_bytes(pickle.dumps(bad, protocol=2)),
                ),
                thing="a.pt",
            )  # fmt: skip
        yield FileCase(
            f"a.npz: {name}",
            partial(
                act, call=call, wrap=lambda bad: bad, file="a.npz",
                write=lambda path, bad: path.write_bytes(npz(x=np.array([bad]), y=np.array([bad]))),
            ),
            thing="a.npz",
        )  # fmt: skip


# --- arrays


def strange_arrays() -> Iterator[tuple[str, Any]]:
    """Arrays that are no real numbers."""
    good = CURVES.numpy()
    yield "complex", good.astype(complex)
    yield "dates", (1000 * good).astype("datetime64[s]")
    yield "differences of dates", (1000 * good).astype("timedelta64[s]")
    yield "records", np.zeros((ROWS, POINTS), dtype=[("a", float), ("b\x1b[31m", float)])
    yield "text of numbers", good.astype(str)
    yield "bytes of numbers", good.astype("S")
    yield "objects", good.astype(object)
    yield "raw", good.view("V4")
    yield "nan", np.full_like(good, np.nan)
    yield "too large", np.full((ROWS, POINTS), 1e300)
    yield "a scalar", np.float64(1)
    yield "nothing", np.zeros((0, POINTS))


def arrays() -> Iterator[FileCase]:
    """Strange arrays and archives of them."""
    conditions, pairs = READERS["conditions"], READERS["submission"]
    for name, bad in strange_arrays():
        yield _case(name, "a.npy", npy(bad), conditions)
        yield _case(name, "a.npz", npz(y=bad), conditions)
        yield _case(f"{name}, compressed", "a.npz", npz(compressed=True, y=bad), conditions)
        yield _case(f"x and y are {name}", "a.npz", npz(x=bad, y=bad), pairs)
        if name not in ("nan", "too large"):
            yield _case(f"x is {name}", "a.npz", npz(x=bad, y=CURVES.numpy()), pairs)
        yield _case(f"y is {name}", "a.npz", npz(x=LINES.numpy(), y=bad), pairs)
    for name, contents in {"no arrays": {}, "others": {"a": LINES.numpy(), "\x1b[31mb": CURVES.numpy()}}.items():
        for reader in (conditions, pairs):
            yield _case(name, "a.npz", npz(**contents), reader)
    header = npy(CURVES.numpy())[:128]
    for name, shape in (("a terabyte", "(1000, 125000000)"), ("no shape", "()"), ("a wrong shape", "(4, -7)")):
        forged = header.replace(b"(4, 7)", shape.encode()).ljust(128 + len(shape))
        forged = forged[:8] + struct.pack("<H", len(forged) - 11) + forged[10:-1].rstrip() + b"\n"
        forged = forged[:8] + struct.pack("<H", len(forged) - 10) + forged[10:]
        yield _case(f"its header says {name}", "a.npy", forged + CURVES.numpy().tobytes()[:40], conditions)
        yield _case(
            f"its header says {name}", "a.npz", _zip({"y.npy": forged + CURVES.numpy().tobytes()[:40]}), conditions
        )
    for file, entries, reader in (
        ("a.npz", {"x.npy": npy(LINES.numpy()), "y.npy": npy(CURVES.numpy())}, pairs),
        ("a.pt", _entries(bytes_of(data_set(LINES, CURVES))), pairs),
    ):
        for name in entries:
            for size in (10**9 + 1, 10**13):
                yield _case(f"{name} inflates to {size:,} bytes", file, _zip(entries, {name: size}), reader)
            rest = {other: entry for other, entry in entries.items() if other != name}
            if not name.endswith(("version", "serialization_id", ".format_version", "byteorder", "alignment")):
                yield _case(f"without {name}", file, _zip(rest), reader)
                yield _case(f"{name} is empty", file, _zip(entries | {name: b""}), reader)
                yield _case(f"{name} is text", file, _zip(entries | {name: b"text" * 99}), reader)
                yield _case(f"{name} packed by bzip2", file, _zip(entries, method=zipfile.ZIP_BZIP2), reader)


def _entries(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def _zip(
    entries: Mapping[str, bytes], sizes: Mapping[str, int] | None = None, method: int = zipfile.ZIP_STORED
) -> bytes:
    """A zip archive whose directory lies about the sizes of some entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in entries.items():
            file.writestr(name, content)
        for info in file.filelist:
            info.file_size = (sizes or {}).get(info.filename, info.file_size)
    return buffer.getvalue()


def other_formats() -> Iterator[FileCase]:
    """Whole files of another kind than their name says."""
    good = {
        "torch": bytes_of(data_set(LINES, CURVES)),
        "npz": npz(x=LINES.numpy(), y=CURVES.numpy()),
        "npy": npy(CURVES.numpy()),
        "csv": b"1,2,3,4,5,6,7\n",
    }
    contents = good | {
        "empty": b"",
        "png": b"\x89PNG\r\n\x1a\n" + bytes(99),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(99),
        "gzip": gzip.compress(good["npy"]),
        "json": b'{"x": [1, 2], "y": [1, 2]}',
        "pickle": pickle.dumps([1, 2, 3]),
        "elf": b"\x7fELF" + bytes(99),
        "zip of a text": _zip({"readme.txt": b"hello"}),
        "empty zip": _zip({}),
        "old torch": bytes_of(data_set(LINES, CURVES), _use_new_zipfile_serialization=False),
        "zeros": bytes(4096),
        "control characters": b"\x1b]0;title\x07\x1b[2J" * 9,
        "a word of a megabyte": b"x" * 1_000_000,
    }
    suffixes = {"torch": "pt", "npz": "npz", "npy": "npy", "csv": "csv"}
    for suffix in ("pt", "npz", "npy", "csv", "txt"):
        for name, content in contents.items():
            if suffixes.get(name) != suffix:
                yield _case(f"is {name}", f"a.{suffix}", content, READERS["conditions"])
                if suffix in ("pt", "npz"):
                    yield _case(f"is {name}, as pairs", f"a.{suffix}", content, READERS["pairs"])


def places() -> Iterator[FileCase]:
    """What is no plain file, wherever one is read."""
    readers: dict[str, Callable[[Path], Any]] = {
        "a.pt": read_pairs,
        "a.npz": read_pairs,
        "a.npy": READERS["conditions"],
        "a.csv": READERS["conditions"],
        "sea.csv": read_series,
        "x-idx1-ubyte": lambda path: read_idx(path, 1),
        "x-idx1-ubyte.gz": lambda path: read_idx(path, 1),
        "result.json": lambda path: folders.read(path.parent),
    }
    makers: dict[str, Callable[[Path], Any]] = {
        "a FIFO": os.mkfifo,
        "a folder": Path.mkdir,
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to endless zeros": lambda path: path.symlink_to("/dev/zero"),
        "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    }
    for file, read in readers.items():
        for name, make in makers.items():

            def act(folder: Path, make: Any = make, file: str = file, read: Any = read) -> Any:
                make(folder / file)
                return read(folder / file)

            yield FileCase(f"{file}: {name}", act, None, file)
    for file in ("a.pt", "a.npz", "a.npy", "a.csv"):
        yield FileCase(f"{file}: missing", lambda folder, file=file: READERS["conditions"](folder / file), None, file)
        yield FileCase(
            f"{file}: a name with a zero", lambda folder, file=file: READERS["conditions"](folder / f"\0{file}"), None
        )


def damaged(generator: Random) -> Iterator[FileCase]:
    """Files that are cut, or of which one bit is flipped; each is refused or read as it was written."""
    contents = {
        "a.pt": bytes_of(data_set(LINES, CURVES)),
        "list.pt": bytes_of(list(zip(LINES, CURVES, strict=True))),
        "a.npz": npz(x=LINES.numpy(), y=CURVES.numpy()),
        "compressed.npz": npz(compressed=True, x=LINES.numpy(), y=CURVES.numpy()),
    }
    for file, content in contents.items():
        for _ in range(20):
            at = generator.randrange(len(content))
            yield _case(f"cut to {at} bytes", file, content[:at], read_pairs)
        yield _case("cut by one byte", file, content[:-1], read_pairs)
        for _ in range(40):
            bit = generator.randrange(8 * len(content))
            yield _case(f"bit {bit} flipped", file, _flipped(content, bit), read_pairs, _as_written)
        for _ in range(10):
            at, length = generator.randrange(len(content)), generator.randrange(1, 200)
            junk = generator.randbytes(length)
            yield _case(
                f"{length} bytes of junk at {at}",
                file,
                content[:at] + junk + content[at + length :],
                read_pairs,
                _as_written,
            )
    whole = npy(CURVES.numpy())
    for _ in range(20):
        at = generator.randrange(len(whole))
        yield _case(f"cut to {at} bytes", "a.npy", whole[:at], READERS["conditions"])


def _flipped(content: bytes, bit: int) -> bytes:
    found = bytearray(content)
    found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


def _as_written(found: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(found[0], LINES) and torch.equal(found[1], CURVES)


# --- tables


def tables() -> Iterator[FileCase]:
    """Tables of conditions, of temperatures, and of light curves."""
    good = "1,2,3,4,5,6,7\n"
    for name, text in {
        "a word": good + "1,2,three,4,5,6,7\n",
        "a steering word": good + "1,2,\x1b[31mred,4,5,6,7\n",
        "steering names": "\x1b[2J\x1b[H,y,y\n1,2,3\n",
        "a short line": good + "1,2\n",
        "a long line": good + "1,2,3,4,5,6,7,8\n",
        "an empty cell": good + "1,2,,4,5,6,7\n",
        "nan": good + "1,2,nan,4,5,6,7\n",
        "inf": good + "1,2,-inf,4,5,6,7\n",
        "too large": good + "1,2,1e300,4,5,6,7\n",
        "comments alone": "# 1,2\n#\n",
        "grouped digits": good + "1,2,1_000,4,5,6,7\n",
        "other digits": good + "1,2,\u0663,4,5,6,7\n",
        "hexadecimal": good + "1,2,0x10,4,5,6,7\n",
        "one cell of a megabyte": "9" * 1_000_000 + "x\n",
        "a zero": good + "1,2,\0,4,5,6,7\n",
        "quotes": good + '1,2,"3",4,5,6,7\n',
    }.items():
        yield _case(name, "a.csv", text.encode(), READERS["conditions"])
    yield _case("latin letters", "a.csv", "1,2,\xe9".encode("latin-1"), READERS["conditions"])
    yield _case("sixteen bits", "a.csv", good.encode("utf-16"), READERS["conditions"])
    header, day = "dates,s1,s2,s3,s4,s5,s6\n", "2001-01-01,1,2,3,4,5,6\n"
    for name, text in {
        "no rows": header,
        "another date": header + day.replace("2001-01-01", "01/01/2001"),
        "a steering date": header + day.replace("2001-01-01", "\x1b[31m"),
        "a steering name": header.replace("s6", "\x1b]0;x\x07") + day.replace("6", "warm"),
        "a steering column": header.replace("dates", "\x1b[31m") + day,
        "many stations": "dates," + ",".join(f"s{number}" for number in range(3000)) + "\n",
        "a word": header + day.replace("3", "warm"),
        "a day of the year 999999": header + day.replace("2001", "999999"),
        "too few years": header + day,
        "an open quote": header + '"' + day,
        "no text": "\x00\x01",
    }.items():
        yield _case(name, "sea.csv", text.encode(), read_series)
    task = LightCurves(points=8, radii=None)
    for name, change in {
        "a word": {"00001/05.dat": "1 2 three\n"},
        "a steering word": {"00001/05.dat": "1 2 \x1b[31m\n"},
        "ragged": {"00001/05.dat": "1 2\n3\n"},
        "empty": {"00001/05.dat": ""},
        "one row": {"00001/05.dat": "1 2\n"},
        "nan": {"00001/05.dat": "1 2\n2 nan\n"},
        "too large": {"00001/05.dat": "1 2\n2 1e300\n"},
        "not positive": {"00001/05.dat": "1 2\n2 -1\n"},
        "endless times": {"00001/05.dat": "1 2\ninf 3\n"},
        "labels: a word": {"labels.dat": "1 1 1 x\n" * 9},
        "labels: nan": {"labels.dat": "1 1 1 nan\n" * 9},
        "labels: too few": {"labels.dat": "1 1 1 1\n"},
        "labels: no text": {"labels.dat": "\ud800"},
    }.items():

        def act(folder: Path, change: Mapping[str, str] = change) -> Any:
            files = {f"{number:05d}/05.dat": "1 2\n2 3\n3 4\n" for number in range(9)}
            for file, text in (files | {"labels.dat": "1 1 1 1\n" * 9} | change).items():
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_bytes(text.encode(errors="surrogatepass"))
            return CurveFiles(str(folder), {"time": 0, "scale": "magnification"}).load(task, None)

        yield FileCase(f"light curves: {name}", act, None, next(iter(change)))

    def odd(folder: Path) -> Any:
        (folder / "\u00b2").mkdir()
        return CurveFiles(str(folder)).load(task, None)

    yield FileCase("light curves: a folder named by another digit", odd)


def idx_files(generator: Random) -> Iterator[FileCase]:
    """Files of hand-written digits."""
    content = struct.pack(">4B2I", 0, 0, 8, 2, 5, 20) + bytes(range(100))
    read = partial(read_idx, dims=2)
    huge = struct.pack(">4B2I", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1)
    for name, bad in {
        "empty": b"",
        "another kind": content.replace(b"\x08", b"\x0d", 1),
        "more axes": content.replace(b"\x08\x02", b"\x08\x03", 1),
        "too long": content + b"1",
        "exabytes": huge + bytes(100),
        "a text": b"no digits at all",
    }.items():
        yield _case(name, "digits", bad, read)
        yield _case(name, "digits.gz", gzip.compress(bad), read)
    yield _case("not gzipped", "digits.gz", content, read)
    yield _case("inflates without end", "digits.gz", gzip.compress(content + bytes(3 * 10**7)), read)
    packed = gzip.compress(content, mtime=0)
    for _ in range(20):
        at = generator.randrange(len(content))
        yield _case(f"cut to {at}", "digits", content[:at], read)
        at = generator.randrange(len(packed))
        yield _case(f"cut to {at}", "digits.gz", packed[:at], read)
        bit = generator.randrange(8 * len(packed))
        # a few bits of the header mean nothing
        good = lambda found: bytes(found.flatten().tolist()) == content[12:]  # noqa: E731
        yield _case(f"bit {bit} flipped", "digits.gz", _flipped(packed, bit), read, good)


# --- caches


def caches(folder: Path, generator: Random) -> Iterator[FileCase]:
    """Reference sets and other arrays that are kept; what is damaged is made anew."""
    budget, y = Budget(simulations=400, starts=10, kept=20), PROBLEM.forward(LINES)
    sets = cached_reference_sets(PROBLEM, y, folder, budget=budget)
    (path,) = folder.glob("reference-*.pt")
    good, content = torch.load(path, weights_only=True), path.read_bytes()

    def searched(folder: Path, make: Callable[[Path], Any]) -> Any:
        make(folder / path.name)
        with clear_disk_errors(folder):
            return cached_reference_sets(PROBLEM, y, folder, budget=budget)

    def same(found: Any) -> bool:
        return all(torch.equal(one.theta, two.theta) for one, two in zip(found, sets, strict=True))

    theta = good[0][0]
    contents: dict[str, Any] = {
        "nan": [(theta * torch.nan, False), *good[1:]],
        "inf": [(theta + torch.inf, False), *good[1:]],
        "another width": [(theta[:, :2], False), *good[1:]],
        "no axis": [(theta[0], False), *good[1:]],
        "double precision": [(theta.double(), False), *good[1:]],
        "complex": [(theta + 1j, False), *good[1:]],
        "sparse": [(theta.to_sparse(), False), *good[1:]],
        "expanded": [(theta[:1].expand(10**11, -1), False), *good[1:]],
        "a set too few": good[1:],
        "a set too many": [*good, good[0]],
        "a number for a flag": [(theta, 3), *good[1:]],
        "three parts": [(theta, False, 1), *good[1:]],
        "a dict": {"theta": theta},
        "a tensor": theta,
        "nothing": None,
        "a payload": Payload(os.mkdir, "ran"),
    }
    writes: dict[str, Callable[[Path], Any]] = {
        name: partial(lambda path, bad: torch.save(bad, path), bad=bad) for name, bad in contents.items()
    }
    for _ in range(10):
        at, bit = generator.randrange(len(content)), generator.randrange(8 * len(content))
        writes[f"cut to {at}"] = partial(Path.write_bytes, data=content[:at])
        writes[f"bit {bit} flipped"] = partial(Path.write_bytes, data=_flipped(content, bit))
    writes |= {"a FIFO": os.mkfifo, "a folder": Path.mkdir, "a loop": lambda path: path.symlink_to(path.name)}
    for name, make in writes.items():
        yield FileCase(f"reference sets: {name}", partial(searched, make=make), same, path.name)
    yield from _kept()


def _kept() -> Iterator[FileCase]:
    """Magnification maps."""
    good = {"magnification": torch.ones(4, 4), "caustics": torch.ones(2, 2).bool()}
    shapes = {"magnification": (4, 4), "caustics": (2, 2)}

    def act(folder: Path, bad: Any) -> Any:
        kept(folder, "map", {}, lambda: good, shapes)
        (path,) = folder.iterdir()
        torch.save(bad, path)
        return kept(folder, "map", {}, lambda: good, shapes)

    for name, bad in {
        "nan": good | {"magnification": torch.full((4, 4), torch.nan)},
        "another shape": good | {"magnification": torch.ones(4, 5)},
        "without caustics": {"magnification": torch.ones(4, 4)},
        "one more": good | {"more": torch.ones(1)},
        "expanded": good | {"magnification": torch.ones(1, 1).expand(10**6, 10**6)},
        "text": good | {"magnification": "text"},
        "a list": [torch.ones(4, 4)],
    }.items():
        yield FileCase(
            f"maps: {name}",
            partial(act, bad=bad),
            lambda found: found.keys() == good.keys() and all(torch.equal(found[key], good[key]) for key in good),
        )


# --- records and logs

RECORD: dict[str, Any] = {
    "status": "finished",
    "optimized_metric": "val/score",
    "optimized_mode": "max",
    "value": 0.5,
    "measures": {"val/score": 0.5},
    "checkpoint": None,
    "seed": 1,
    "overrides": ["seed=1"],
    "duration_s": 1.0,
    "config_hash": "a",
    "config": {"seed": 1, "data": {"forward": ["x0"]}},
}


def records() -> Iterator[FileCase]:
    """``result.json`` of a run, read by what goes on in the folder and by the table of runs."""

    def act(folder: Path, text: str) -> Any:
        (folder / "result.json").write_text(text)
        with redirect_stdout(io.StringIO()) as shown:
            runs = read_runs(folder)
            print_tables(runs, summarize(runs), "runs", width=200)
        # what goes on in the folder, and what tells that another run may not
        folders.finished_value(folder, "a")
        if not folders.is_free_for(folder, "b"):
            print(folders.taken(folder, {"seed": 2}), file=shown)
        return shown.getvalue()

    def clean(shown: str) -> bool:
        return all(one.isprintable() or one in "\n\t" for one in shown)

    values: dict[str, Any] = {
        "text": "abc", "a list": [1], "a mapping": {"a": 1}, "true": True, "a huge number": 10**400,
        "nothing": None, "steering": "\x1b[2J\x1b]0;x\x07\x9b31m",
    }  # fmt: skip
    for entry in RECORD:
        for name, value in values.items():
            text = json.dumps(RECORD | {entry: value})
            yield FileCase(f"result.json: {entry} is {name}", partial(act, text=text), clean, "result.json")
    for name, text in {
        "nested deeply": "[" * 100_000 + "]" * 100_000,
        "nested as far as JSON goes": '{"config": ' * 400 + "1" + "}" * 400,
        "cut": json.dumps(RECORD)[:40],
        "empty": "",
        "a list": "[]",
        "nan as its value": json.dumps(RECORD | {"value": float("nan")}),
        "digits without end": json.dumps(RECORD).replace("0.5", "5" * 10_000, 1),
        "a steering name of a measure": json.dumps(RECORD | {"measures": {"\x1b[31mx": 1.0, "val/score": 1.0}}),
        "a steering override": json.dumps(RECORD | {"overrides": ["\x1b[31mseed=\x07"]}),
        "a steering error": json.dumps(RECORD | {"status": "failed", "error": "\x1b[31mred\x07"}),
        "a steering setting": json.dumps(RECORD | {"config": {"seed": "\x1b[31m", "\x1b[2J": 1}}),
        "data of another type": json.dumps(RECORD | {"config": {"data": [1], "seed": 1}}),
        "a function of another type": json.dumps(RECORD | {"config": {"data": {"forward": {"_target_": [1]}}}}),
        "halves of letters": json.dumps(RECORD | {"error": "\ud800"}),
    }.items():
        yield FileCase(f"result.json: {name}", partial(act, text=text), clean, "result.json")


def logs(generator: Random) -> Iterator[FileCase]:
    """``csv/metrics.csv`` of a run that goes on: its whole rows are kept."""
    good = "epoch,loss,step\n0,0.5,1\n1,0.25,3\n"
    lines = ["0,0.5,1", "1,0.25,3"]

    def act(folder: Path, write: Callable[[Path], Any]) -> Any:
        path = folder / "csv" / "metrics.csv"
        path.parent.mkdir()
        write(path)
        entry = {
            "_target_": "lightning.pytorch.loggers.CSVLogger",
            "save_dir": str(folder),
            "name": "",
            "version": "csv",
        }
        build_loggers([OmegaConf.create(entry)], 4)
        return path.read_text().splitlines()[1:] if path.is_file() else []

    def kept_rows(found: list[str]) -> bool:
        return all(row in lines for row in found)

    texts = {
        "a long row": good + "1,2,3,4,5\n",
        "a short row": good + "1,2\n",
        "a row of text": good + "one,two,three\n",
        "a steering row": good + "\x1b[31m,1,2\n",
        "another digit": good + "1,1,\u00b2\n",
        "a negative step": good + "1,1,-2\n",
        "a huge step": good + "1,1," + "9" * 5000 + "\n",
        "a zero": good + "\0,1,2\n",
        "a cell of a megabyte": good + "9" * 1_000_000 + ",1,2\n",
        "an open quote": good + '"1,1,2\n',
        "no header": "0,0.5,1\n1,0.25,3\n",
        "a header of another kind": "a,b,c\n1,2,3\n",
        "a steering header": good.replace("loss", "\x1b[2J"),
        "empty": "",
        "one line": "epoch,loss,step",
        "twice the same name": good.replace("loss", "step"),
    }
    writes: dict[str, Callable[[Path], Any]] = {
        name: partial(Path.write_text, data=text) for name, text in texts.items()
    }
    for _ in range(10):
        at = generator.randrange(len(good))
        writes[f"cut to {at}"] = partial(Path.write_text, data=good[:at])
    writes |= {
        "bytes": partial(Path.write_bytes, data=b"\xff\xfe\x00"),
        "a FIFO": os.mkfifo,
        "a folder": Path.mkdir,
        "a link to endless zeros": lambda path: path.symlink_to("/dev/zero"),
    }
    for name, make in writes.items():
        # a cut number is a number
        right = None if name in ("bytes", "a FIFO", "a folder", "a link to endless zeros") else kept_rows
        if name.startswith("cut") or name in ("twice the same name",):
            right = lambda found: len(found) <= 2  # noqa: E731
        yield FileCase(f"metrics.csv: {name}", partial(act, write=make), right, "metrics.csv")
