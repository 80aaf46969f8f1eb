"""Ways to damage any file: cuts, flipped bits, things that are no plain file, and pickles that run code."""

from __future__ import annotations

import io
import os
import pickle
import socket
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch

from cvae.files import write_json

#: what makes a thing at the path that is no plain file; ``guard`` is the folder beside the run's
Maker = Callable[[Path, Path], object]


def _socket(path: Path, guard: Path) -> None:
    # the name of a socket may have a hundred characters
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


THINGS: dict[str, Maker] = {
    "a link to a file": lambda path, guard: path.symlink_to(guard / "precious.txt"),
    "a link to a folder": lambda path, guard: path.symlink_to(guard / "victim"),
    "a link to nothing": lambda path, guard: path.symlink_to(guard / "new"),
    "a link to a new file in a folder": lambda path, guard: path.symlink_to(guard / "victim" / "new"),
    "a link to itself": lambda path, guard: path.symlink_to(path.name),
    "a link to a terminal": lambda path, guard: path.symlink_to("/dev/tty"),
    "a link to /dev/zero": lambda path, guard: path.symlink_to("/dev/zero"),
    "a FIFO": lambda path, guard: os.mkfifo(path),
    "an empty folder": lambda path, guard: path.mkdir(),
    "a folder": lambda path, guard: (path / "inner").mkdir(parents=True),
    "a socket": _socket,
}


def cuts(content: bytes, count: int, rng: Random) -> Iterator[tuple[str, bytes]]:
    """A file cut short: at the borders of what an archive holds, and anywhere."""
    places = {0, 1, 4, 22, len(content) - 1, len(content) - 22, len(content) // 2}
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                places |= {info.header_offset, info.header_offset + 30, info.header_offset + info.compress_size}
    places = {place for place in places if 0 <= place < len(content)}
    chosen = sorted(places) if len(places) <= count else sorted(rng.sample(sorted(places), count))
    while len(chosen) < count:
        chosen.append(rng.randrange(len(content)))
    for place in chosen:
        yield f"cut after {place} of {len(content)} bytes", content[:place]


def flips(content: bytes, count: int, rng: Random) -> Iterator[tuple[str, bytes]]:
    """A file with one bit flipped, or a few bytes overwritten."""
    for number in range(count):
        damaged, place = bytearray(content), rng.randrange(len(content))
        if number % 4 == 3:
            width = rng.choice([2, 16, 512])
            damaged[place : place + width] = rng.randbytes(len(damaged[place : place + width]))
            yield f"{width} bytes overwritten at {place}", bytes(damaged)
        else:
            bit = rng.randrange(8)
            damaged[place] ^= 1 << bit
            yield f"bit {bit} flipped in byte {place}", bytes(damaged)


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def payloads(guard: Path) -> dict[str, Any]:
    """Objects that write into ``guard`` when they are unpickled."""
    ran = str(guard / "ran")
    return {
        "os.system": Call(os.system, f"touch {ran}"),
        "open": Call(open, ran, "w"),
        "eval": Call(eval, f"open({ran!r}, 'w')"),
        "exec": Call(exec, f"open({ran!r}, 'w')"),
        "os.mkdir": Call(os.mkdir, ran),
        "Path.touch": Call(Path.touch, Path(ran)),
        "os.rmdir": Call(os.rmdir, str(guard / "victim" / "checkpoints")),
        "os.remove": Call(os.remove, str(guard / "precious.txt")),
        "torch.save": Call(torch.save, 1, ran),
        "torch.load": Call(torch.load, ran),
        "__import__": Call(__import__, "antigravity"),
        "zipfile": Call(zipfile.ZipFile, ran, "w"),
        "write_json": Call(write_json, ran, {}),
    }


def torch_archive(pickled: bytes, name: str = "archive") -> bytes:
    """A file in torch's format around a pickle of one's own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}/data.pkl", pickled)
        archive.writestr(f"{name}/byteorder", b"little")
        archive.writestr(f"{name}/version", b"3\n")
    return buffer.getvalue()


def pickles(guard: Path) -> Iterator[tuple[str, bytes]]:
    """Files that are pickles, bare and in torch's formats, and pickles of odd forms."""
    for name, payload in payloads(guard).items():
        for protocol in (0, 2, 4):
            yield f"a bare pickle ({protocol}) of {name}", pickle.dumps(payload, protocol=protocol)
        yield f"a torch archive of {name}", torch_archive(pickle.dumps(payload, protocol=2))
        buffer = io.BytesIO()
        torch.save({"state_dict": payload}, buffer, _use_new_zipfile_serialization=False)
        yield f"an old torch file of {name}", buffer.getvalue()
    system = b"cposix\nsystem\n" + pickle.dumps((f"touch {guard / 'ran'}",), protocol=0)[:-1] + b"R."
    odd = {
        "GLOBAL and REDUCE by hand": system,
        "INST by hand": b"(S'touch ran'\niposix\nsystem\n.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        "BUILD": b"\x80\x02cbuiltins\nobject\n)\x81}X\x01\x00\x00\x00aK\x01sb.",
        "an extension code": b"\x80\x02\x82\x01.",
        "a persistent id": b"\x80\x02K\x01Q.",
        "a memo that is not there": b"\x80\x02h\x05.",
        "a frame without an end": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "text of 2**62 bytes": b"\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x40a.",
        "no end": b"\x80\x02}",
        "nothing on the stack": b"\x80\x02.",
        "protocol 99": b"\x80\x63}.",
        "a thousand nested lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
        "doubled lists": b"\x80\x02]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)) + b".",
        "a number of a million digits": b"\x80\x02\x8b" + (400_000).to_bytes(4, "little") + b"\x7f" * 400_000 + b".",
    }
    for name, content in odd.items():
        yield f"a torch archive of {name}", torch_archive(content)
        yield f"a bare pickle of {name}", content


def archives(name: str) -> Iterator[tuple[str, bytes]]:
    """Zip files of odd forms; ``name`` is the member that a reader looks for."""
    for title, members in {
        "an empty zip file": {},
        "a zip file of something else": {"readme.txt": b"hello"},
        "a member that leaves the folder": {f"../../guard/{name}": b"x", name: b"x"},
        "an absolute member": {f"/{name}": b"x"},
        "an empty member": {name: b""},
        "a member of text": {name: b"hello"},
    }.items():
        yield title, _zipped(members)
    inflating = io.BytesIO()
    with zipfile.ZipFile(inflating, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, bytes(64 << 20))
    yield "a member that inflates to 64 MB", inflating.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(name, b"hello")
    yield "a member packed by bzip2", packed.getvalue()
    # the directory says a size that the file does not have
    for size in (0, 1, 1 << 31, (1 << 32) - 2):
        content = bytearray(_zipped({name: b"hello"}))
        at = content.index(b"PK\x01\x02") + 24
        content[at : at + 4] = size.to_bytes(4, "little")
        yield f"a directory that says {size} bytes", bytes(content)
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(name, b"a")
        archive.writestr(name, b"b")
    yield "a member that is there twice", twice.getvalue()
    yield "a zip file behind text", b"hello" * 10 + _zipped({name: b"x"})
    yield "a zip file before text", _zipped({name: b"x"}) + b"hello" * 10


#: members of an archive of torch's that say nothing about what it holds
SILENT = ("version", "serialization_id", ".format_version", "byteorder", "alignment")


def members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """A good archive with each of its members missing, empty, or text."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        found = {name: file.read(name) for name in file.namelist()}
    for name in (one for one in found if not one.endswith(SILENT)):
        yield f"without {name}", _zipped({other: content for other, content in found.items() if other != name})
        yield f"{name} is empty", _zipped(found | {name: b""})
        yield f"{name} is text", _zipped(found | {name: b"text" * 99})


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


#: bytes that are no file of any kind here
NOISE: dict[str, bytes] = {
    "nothing": b"",
    "a zero byte": b"\0",
    "zeros": bytes(4096),
    "text": b"hello\n" * 100,
    "bytes of all kinds": bytes(range(256)) * 8,
    "the beginning of a zip file": b"PK\x03\x04",
    "the end of a zip file": b"PK\x05\x06" + bytes(18),
    "a gzip header": b"\x1f\x8b\x08\x00",
    "an array's magic": b"\x93NUMPY",
    "escape sequences": b"\x1b[31m\x1b]0;owned\x07" * 20,
    "a tar file": b"a" * 100 + b"0000644\0" * 3 + bytes(133) + b"ustar\0" + bytes(1024),
    "a PNG file": b"\x89PNG\r\n\x1a\n" + bytes(99),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "an ELF file": b"\x7fELF" + bytes(99),
    "JSON": b'{"x": [1, 2], "y": [1, 2]}',
    "half of a letter": b"\xed\xa0\x80",
    "HTML": b"<html><script>alert(1)</script></html>",
}
