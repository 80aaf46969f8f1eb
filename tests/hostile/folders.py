"""Run folders of strangers: things that are no plain files, damaged records, logs, and configs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

from cvae.api import Run
from cvae.runs.compare import print_tables, read_runs, summarize
from cvae.runs.launch import run as train
from tests.hostile.campaign import Case
from tests.hostile.damage import NOISE, THINGS
from tests.hostile.good import Good, config, epochs_done, resumptions, same, weights

#: what a run writes into its folder
WRITTEN = (".lock", "train.log", "result.json", "config.yaml", "checkpoints", "csv", "figures", "wandb")
#: with a logger that goes on where it was interrupted
CSV = "{_target_: lightning.pytorch.loggers.CSVLogger, save_dir: '${run_dir}', name: null, version: csv}"
LOGGED = (f"+logger.csv={CSV}",)

Damage = Callable[[Path, Path], object]


def things(good: Good, rng: Random) -> Iterator[Case]:
    """Links, FIFOs, folders and sockets in the place of what a run writes, whether it is new or was interrupted."""
    for title, make in THINGS.items():
        for name in (*WRITTEN, "csv/metrics.csv"):
            for state in ("new", "interrupted"):

                def damage(run: Path, guard: Path, name: str = name, make: Damage = make) -> None:
                    _replace(run, name, guard, make)

                words = LOGGED if name.startswith("csv") else ()
                yield _run(good, f"{name} of a run that is {state} is {title}", state, damage, words)
    yield from _odd_places(good)


def _odd_places(good: Good) -> Iterator[Case]:
    """Folders that are no folders of their own."""
    # a link to a folder that exists is a folder of the user's choice
    for title, make in ((title, make) for title, make in THINGS.items() if title != "a link to a folder"):

        def act(run: Path, make: Damage = make) -> Path:
            make(run / "inner", run.parent / "guard")
            train(config(), run / "inner")
            return run / "inner"

        # an empty folder is where a run begins, and a folder with other things keeps them
        yield Case(f"the folder of a run is {title}", act, lambda run: _is_whole(good, run) and not run.is_symlink())


def _replace(run: Path, name: str, guard: Path, make: Damage) -> None:
    path = run / name
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    make(path, guard)


def _run(good: Good, title: str, state: str, damage: Damage, words: tuple[str, ...] = ()) -> Case:
    """A run that is given again in a folder that was damaged meanwhile."""

    def act(run: Path) -> tuple[Path, bytes, list[int]]:
        run.rmdir()
        if state == "new":
            run.mkdir()
        else:
            shutil.copytree(good.whole if state == "whole" else good.interrupted, run)
        damage(run, run.parent / "guard")
        record = run / "result.json"
        before = record.read_bytes() if record.is_file() else b"", epochs_done(run)
        train(config(*words), run)
        return run, *before

    def right(found: tuple[Path, bytes, list[int]]) -> bool:
        run, record, done = found
        return _is_whole(good, run, done) or (state == "whole" and (run / "result.json").read_bytes() == record)

    return Case(title, act, right)


def _is_whole(good: Good, run: Path, done: Sequence[int] = ()) -> bool:
    """Whether the run has ended as it does undisturbed, and had gone on after that many epochs, or not at all."""
    found = json.loads((run / "result.json").read_text())
    return found["status"] == "finished" and resumptions(run) == [*done] and same(weights(run), weights(good.whole))


# --- records


def records(good: Good, rng: Random) -> Iterator[Case]:
    """Records that are damaged or hostile: of a run that goes on, in a comparison, and from Python."""
    record = json.loads((good.whole / "result.json").read_text())
    for title, content in [*_records(record, rng), *((title, noise) for title, noise in NOISE.items())]:

        def damage(run: Path, guard: Path, content: bytes = content) -> None:
            (run / "result.json").write_bytes(content)

        yield _run(good, f"a run whose record is {title}", "whole", damage)
        yield _compared(good, f"compared: {title}", damage)
        yield _loaded(good, f"loaded: {title}", damage)
    for title, make in THINGS.items():

        def put(run: Path, guard: Path, make: Damage = make) -> None:
            _replace(run, "result.json", guard, make)

        yield _compared(good, f"compared: {title}", put)
        yield _loaded(good, f"loaded: {title}", put)


def _records(record: dict[str, Any], rng: Random) -> Iterator[tuple[str, bytes]]:
    text = json.dumps(record)
    for share in (0.1, 0.5, 0.99):
        yield f"cut after {share:.0%}", text[: int(len(text) * share)].encode()
    yield "nested 100,000 deep", b"[" * 100_000 + b"]" * 100_000
    yield "nested 100,000 deep, of dicts", b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "a number of 10,000 digits", b"1" * 10_000
    yield "a list", b"[1, 2]"
    yield "a number", b"5"
    yield "null", b"null"
    yield "an empty object", b"{}"
    yield "with a byte order mark", b"\xef\xbb\xbf" + text.encode()
    yield "in UTF-16", text.encode("utf-16")
    yield "half of a letter as an error", json.dumps(record | {"error": "\ud800"}).encode()
    yield "of 20 MB", json.dumps(record | {"error": "a" * (20 << 20)}).encode()
    changes: dict[str, tuple[Any, ...]] = {
        "status": (None, 5, [], "odd", "\x1b[31mred", "failed", "running"),
        "value": (None, "abc", [], {}, True, math.inf, 10**400),
        "measures": (
            None, 5, [], {"a": "abc"}, {"a": {"b": {}}}, {"\x1b[31mred": 1.0}, {"a": 10**400}, {"val/score": "NaN"},
        ),
        "config": (
            None, 5, [], {"data": 5}, {"data": {"forward": {"a": 1}}}, {"data": {"forward": [5]}}, {"seed": {}},
            {"seed": "\x1b[31m"},
        ),
        "config_hash": (None, 5, [], "abc"),
        "overrides": (None, 5, [5], ["\x1b[31mred=1"], "abc", [["a"]], {"a": 1}, ["="], ["+"]),
        "checkpoint": (5, [], "../../guard/precious.txt", "/etc/passwd", "", "checkpoints", "a\x00b", "x" * 5000),
        "duration_s": ("abc", [], -1, 10**400, None),
        "error": (5, [], "\x1b]0;owned\x07", {"a": 1}),
        "optimized_metric": (5, [], "\x1b[31m", None, "val/luck"),
        "optimized_mode": (5, "upwards", None),
        "seed": ("abc", [], None),
        "resumed": ("abc", 5, None),
    }  # fmt: skip
    for name, values in changes.items():
        yield f"without {name}", json.dumps({key: value for key, value in record.items() if key != name}).encode()
        for value in values:
            yield f"{name}={str(value)[:40]!r}", json.dumps(record | {name: value}).encode()


def _compared(good: Good, title: str, damage: Damage) -> Case:
    """A comparison of a good run and a damaged one: the good one is shown, and nothing reaches the terminal raw."""

    def act(run: Path) -> str:
        shutil.copytree(good.other, run / "good")
        shutil.copytree(good.whole, run / "bad")
        damage(run / "bad", run.parent / "guard")
        out = StringIO()
        with redirect_stdout(out):
            runs = read_runs(run)
            print_tables(runs, summarize(runs), str(run))
        return out.getvalue()

    def right(text: str) -> bool:
        return "val/" in text and text.replace("\n", "").isprintable()

    return Case(title, act, right)


def _loaded(good: Good, title: str, damage: Damage) -> Case:
    def act(run: Path) -> Run:
        run.rmdir()
        shutil.copytree(good.whole, run)
        damage(run, run.parent / "guard")
        return Run.load(run)

    def right(run: Run) -> bool:
        """What is taken from a record is of the right kind, and the checkpoint lies in the folder."""
        inside = run.checkpoint is None or run.checkpoint.resolve().is_relative_to(run.folder.resolve())
        return inside and all(isinstance(value, float) for value in run.measures.values()) and bool(run.config)

    return Case(title, act, right)


# --- logs and configs


def logs(good: Good, rng: Random) -> Iterator[Case]:
    """Logs, events and configs in the folder of an interrupted run."""
    tables = {
        "junk": b"hello",
        "no header": b"1,2,3\n",
        "a header alone": b"epoch,step\n",
        "a ragged row": b"epoch,step,val/score\n0,1\n0,1,2,3,4\n",
        "text in the place of numbers": b"epoch,step,val/score\n0,1,abc\n",
        "nan steps": b"epoch,step,val/score\n0,nan,1\n",
        "a huge step": b"epoch,step,val/score\n0," + b"9" * 400 + b",1\n",
        "no step": b"a,b\n1,2\n",
        "columns twice": b"step,step,step\n1,2,3\n",
        "a column of escapes": b"step,\x1b[31mred\n1,2\n",
        "zero bytes": b"step,a\n1,\x00\n",
        "Latin-1": "step,\u00e9\n1,2\n".encode("latin-1"),
        "quotes without an end": b'step,a\n1,"2\n',
        "a cell of a million characters": b"step,a\n1," + b"x" * 1_000_000 + b"\n",
        "a column named step alone": b"step\n0\n1\n",
    }
    others = ("config.yaml", "train.log", "events.out.tfevents.1.x.1.0", ".lock")
    names = {"csv/metrics.csv": tables} | dict.fromkeys(others, NOISE)
    for name, contents in names.items():
        for title, content in (contents | (NOISE if name.endswith("csv") else {})).items():

            def damage(run: Path, guard: Path, name: str = name, content: bytes = content) -> None:
                (run / name).parent.mkdir(exist_ok=True)
                (run / name).write_bytes(content)

            yield _run(good, f"{name}: {title}", "interrupted", damage, LOGGED)
    for title, change in {
        "a stranger's temporary file": lambda run, guard: (run / "checkpoints" / ".last.abc.ckpt").write_bytes(b"x"),
        "a folder without a record": lambda run, guard: (run / "result.json").unlink(),
        "checkpoints without a record's permission": lambda run, guard: (run / "result.json").write_text("{}"),
        "no checkpoints": lambda run, guard: shutil.rmtree(run / "checkpoints"),
        "a lock of another machine": lambda run, guard: (run / ".lock").write_text("process 1 on elsewhere"),
        "a thousand files": lambda run, guard: [(run / f"x{number}").touch() for number in range(1000)],
    }.items():
        yield _run(good, title, "interrupted", change)
