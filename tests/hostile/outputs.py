"""Where results are written: solutions, pictures, bundles, tables and studies."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np

from cvae.commands import generate, submit
from tests.hostile.campaign import Case
from tests.hostile.damage import NOISE, THINGS, cuts, flips
from tests.hostile.good import Good, config, put
from tests.hostile.settings import tune

Damage = Callable[[Path, Path], object]
#: what lies where a new study is made and is in nobody's way
HARMLESS = (
    "the study is an empty folder",
    "the study is a folder",
    "trials is an empty folder",
    "study.db: nothing",
    "study.db: a zero byte",
)


def outputs(good: Good, rng: Random) -> Iterator[Case]:
    """Things in the place of what is to be written."""
    for name in ("x.npz", "x.pt", "x.csv", "x.png"):
        for title, make in THINGS.items():
            yield _generated(good, f"out={name} is {title}", name, make)
    for title, make in THINGS.items():
        yield _submitted(good, f"a bundle is {title}", make)
    for name in ("result.pt", "model_parameters.yaml", "CVAE_architecture.py", "other.txt"):
        for title, make in THINGS.items():

            def put(path: Path, guard: Path, name: str = name, make: Damage = make) -> None:
                path.mkdir()
                make(path / name, guard)

            yield _submitted(good, f"{name} of a bundle is {title}", put)
    for title, content in NOISE.items():
        yield _submitted(good, f"a bundle is a file of {title}", lambda path, guard, c=content: path.write_bytes(c))
        yield _submitted(good, f"the record of a bundle's run is {title}", None, record=content)


def _generated(good: Good, title: str, name: str, make: Damage) -> Case:
    def act(run: Path) -> Path:
        path = run / name
        make(path, run.parent / "guard")
        cfg = config(name="generate")
        picture = name.endswith("png")
        for key, value in {
            "checkpoint": str(good.best), "unseen": 1, "draws": 3,
            "out": str(run / "y.npz") if picture else str(path), "picture": str(path) if picture else None,
        }.items():  # fmt: skip
            put(cfg, key, value)
        generate.run(cfg)
        return path

    # replaced as a whole, which leaves alone what a link points to
    return Case(title, act, lambda path: not path.is_symlink() and path.stat().st_size > 100, things=(name,))


def _submitted(good: Good, title: str, make: Damage | None, record: bytes | None = None) -> Case:
    def act(run: Path) -> Path:
        path, checkpoint = run / "bundle", run / "run" / "checkpoints" / "best.ckpt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(good.best.read_bytes())
        (run / "run" / "result.json").write_bytes(record or (good.whole / "result.json").read_bytes())
        if make is not None:
            make(path, run.parent / "guard")
        t = np.linspace(0, 1, 50)
        np.save(run / "y.npy", ((0.9 - 0.5 * t) * (0.2 + 0.6 * t))[None, None])
        cfg = config(name="submit")
        settings = {"checkpoint": str(checkpoint), "conditions": str(run / "y.npy"), "out": str(path), "draws": 3}
        for key, value in settings.items():
            put(cfg, key, value)
        # what it runs is the project's own text
        with patch("cvae.challenge.submit.run_standalone"):
            submit.run(cfg)
        return path

    def right(path: Path) -> bool:
        plain = {one.name for one in path.iterdir() if one.is_file() and not one.is_symlink()}
        return {"result.pt", "model_parameters.yaml"} <= plain

    return Case(title, act, right)


def studies(good: Good, rng: Random) -> Iterator[Case]:
    """Studies of strangers: databases that are damaged, of something else, or no files."""
    things: dict[str, Any] = {f"study.db is {title}": ("study.db", make) for title, make in THINGS.items()}
    things |= {f"study.log is {title}": ("study.log", make) for title, make in THINGS.items()}
    # a link to a folder that exists is a folder of the user's choice
    things |= {f"the study is {title}": ("", make) for title, make in THINGS.items() if title != "a link to a folder"}
    things |= {f"trials is {title}": ("trials", make) for title, make in THINGS.items()}
    for title, content in NOISE.items():
        things[f"study.db: {title}"] = ("study.db", lambda path, guard, c=content: path.write_bytes(c))
    database = _database()
    for title, content in (*cuts(database, 8, rng), *flips(database, 12, rng)):
        # SQLite takes a file of no more than one byte for a new database
        if len(content) > 1:
            things[f"another study.db: {title}"] = ("study.db", lambda path, guard, c=content: path.write_bytes(c))
    for title, (name, make) in things.items():
        yield _study(title, name, make)


def _database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table version_info (version_info_id integer, schema_version integer)")
    connection.execute("insert into version_info values (1, 99)")
    connection.commit()
    return connection.serialize()


def _study(title: str, name: str, make: Damage) -> Case:
    def act(run: Path) -> bool:
        folder = run / "search" / "mine"
        folder.parent.mkdir()
        if name:
            folder.mkdir()
        make(folder / name if name else folder, run.parent / "guard")
        cfg = config(name="tune")
        for key, value in {"trials": 0, "out": str(run / "search"), "study": "mine"}.items():
            put(cfg, key, value)
        tune(cfg)
        return True

    harmless = title in HARMLESS
    return Case(title, act, (lambda done: done) if harmless else None)
