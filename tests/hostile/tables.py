"""Tables of text, and idx files, that are damaged or hold something else."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from cvae.data.curve_sources import CurveFiles
from cvae.data.idx import read_idx
from cvae.tasks import LightCurves
from tests.hostile.campaign import Case
from tests.hostile.damage import NOISE, cuts, flips
from tests.hostile.data import FLIPS, IMAGES, POINTS, READERS, Reader, case
from tests.hostile.good import Good

CONDITIONS, SERIES, RAW, CURVE, LABELS = (
    next(one for one in READERS if one.name == name)
    for name in ("y.csv", "series.csv", "images.idx", "05.dat", "labels.dat")
)
PACKED = Reader("images.idx.gz", gzip.compress(IMAGES, mtime=0), lambda path: read_idx(path, 3))

TABLES: dict[str, bytes] = {
    "words": b"a,b\nc,d\n",
    "names alone": b"y0,y1\n",
    "a ragged row": b"1,2,3\n1,2\n",
    "a number that is too large": b",".join([b"1e999"] * POINTS) + b"\n",
    "too large for single precision": b",".join([b"1e300"] * POINTS) + b"\n",
    "nan": b",".join([b"nan"] * POINTS) + b"\n",
    "inf": b",".join([b"inf"] * POINTS) + b"\n",
    "an empty cell": b"1,,3\n",
    "a formula": b"=1+1,@SUM(A1),-2+3|cmd\n",
    "quotes without an end": b'"1,2\n3,4\n',
    "zero bytes": b"1,2\x00,3\n" * 3,
    "UTF-16": "1,2,3\n".encode("utf-16"),
    "Latin-1": "1,2,3,\u00e9\n".encode("latin-1"),
    "decimal commas": b"0,5;0,6;0,7\n",
    "underscores": b"1_0,2\n",
    "hexadecimal": b"0x10,0x20\n",
    "full-width digits": "\uff11,\uff12\n".encode(),
    "escape sequences in a cell": b"1,\x1b[31mred\x1b[0m,3\n",
    "a line of a million commas": b"," * 1_000_000 + b"\n",
    "a million lines": b"1\n" * 1_000_000,
    "a cell of a million digits": b"1" * 1_000_000 + b"\n",
    "comments alone": b"# a\n# b\n",
    "carriage returns": b"1,2\r3\r",
    "twelve twelves": b",".join([b"12"] * (POINTS + 5)) + b"\n",
}
#: cells that are no numbers
CELLS = (
    "three",
    "\x1b[31mred",
    "",
    "nan",
    "-inf",
    "1_000",
    "\u0663",
    "0x10",
    "1\0",
    '"3"',
    "1 2",
    "9" * 1_000_000 + "x",
)
#: rows of a light curve, which has a time and a magnification in each
ROWS = (
    "1 2\n3\n",
    "1 2\n",
    "1 2\n2 1e300\n",
    "1 2\n2 -1\n",
    "1 2\ninf 3\n",
    "2 1\n1 2\n",
    "1 2\n1 3\n",
    "1 2\n2 nan\n",
)


def tables(good: Good, rng: Random) -> Iterator[Case]:
    """Tables of conditions, of temperatures, and of light curves."""
    for reader in (CONDITIONS, SERIES, CURVE, LABELS):
        for title, content in TABLES.items():
            yield case(reader, title, content)
    for reader, row in ((CONDITIONS, "{}" + ",1" * (POINTS - 1)), (CURVE, "4 {}"), (LABELS, "1 1 1 {}")):
        for cell in CELLS:
            lines = [*reader.good.splitlines()[:-1], row.format(cell).encode()]
            yield case(reader, f"a cell {cell[:9]!r} in its last row", b"\n".join(lines))
    for rows in ROWS:
        yield case(CURVE, repr(rows), rows.encode())
    yield case(CONDITIONS, "names that steer", b"\x1b[2J\x1b[H,y,y\n1,2,3\n")
    yield case(
        CONDITIONS, "a number that is too large in its last row", CONDITIONS.good + b"1e300" + b",1" * 11 + b"\n"
    )
    yield from _wrong_series()

    def other_digit(run: Path) -> object:
        (run / "\u00b2").mkdir()
        return CurveFiles(str(run)).load(LightCurves(8), None)

    yield Case("light curves: a folder named by another digit", other_digit, things=("data.source.root",))


def _wrong_series() -> Iterator[Case]:
    """Temperatures with one line or one cell that is wrong."""
    lines = SERIES.good.decode().splitlines()
    changes: dict[str, Callable[[list[str]], list[str]]] = {
        "a day twice": lambda rows: [*rows[:9], rows[8], *rows[9:]],
        "a day missing": lambda rows: rows[:9] + rows[10:],
        "days out of order": lambda rows: [*rows[:9], rows[10], rows[9], *rows[11:]],
        "no header": lambda rows: rows[1:],
        "a station missing": lambda rows: [row.rpartition(",")[0] for row in rows],
        "a station too many": lambda rows: [f"{row},1" for row in rows],
        "too few years": lambda rows: rows[:900],
        "no days": lambda rows: rows[:1],
        "a first column that steers": lambda rows: ["\x1b[31m" + rows[0], *rows[1:]],
        "a station that steers": lambda rows: [rows[0] + "\x1b]0;x\x07", rows[1] + "warm", *rows[2:]],
        "rows of 250,000 values": lambda rows: [rows[0], *(rows[1] + ",1" * 250_000,) * 2],
        "3,000 stations": lambda rows: ["dates" + ",s" * 3000, *rows[1:]],
        "an open quote": lambda rows: [rows[0], '"' + rows[1], *rows[2:]],
    }
    for cell in ("", "nan", "inf", "abc", "1e99", "--", "1,2", "NULL", "\x1b[31m"):
        changes[f"a cell of {cell!r}"] = lambda rows, cell=cell: [
            *rows[:50], rows[50].rpartition(",")[0] + f",{cell}", *rows[51:]
        ]  # fmt: skip
    for date in (
        "",
        "abc",
        "1990-02-30",
        "90-02-20",
        "0000-00-00",
        "20.2.1990",
        "9999-99-99",
        "-1990-02-20",
        "01/01/2001",
        "\x1b[31m",
        "999999-01-01",
    ):
        changes[f"a date of {date!r}"] = lambda rows, date=date: [
            *rows[:50], date + rows[50][10:], *rows[51:]
        ]  # fmt: skip
    for title, change in changes.items():
        yield case(SERIES, title, "\n".join(change(lines)).encode())


def idx(good: Good, rng: Random) -> Iterator[Case]:
    """Pictures as MNIST has them, gzipped or not."""
    wrong = {f"byte {at} of the header is {byte}": IMAGES[:at] + bytes([byte]) + IMAGES[at + 1 :] for at, byte in
             ((2, 9), (2, 13), (3, 1), (3, 2), (4, 255), (7, 3), (8, 128), (15, 0))}  # fmt: skip
    wrong |= {"exabytes": IMAGES[:4] + b"\xff" * 12 + IMAGES[16:], "a byte too many": IMAGES + b"1"}
    for title, content in wrong.items():
        yield case(RAW, title, content)
        yield case(PACKED, title, gzip.compress(content))
    for title, content in (*cuts(PACKED.good, 20, rng), *NOISE.items(), ("it is not packed", IMAGES)):
        yield case(PACKED, title, content)
    for title, content in flips(PACKED.good, 2 * FLIPS, rng):
        yield case(PACKED, title, content, same=True)
    yield case(PACKED, "zeros that inflate to 200 MB", gzip.compress(bytes(200 << 20), 1))
    yield case(PACKED, "an array that inflates to 30 MB more", gzip.compress(IMAGES + bytes(30 << 20), 1))
