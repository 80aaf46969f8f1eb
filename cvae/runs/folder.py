"""A run's folder: what was asked of it, how far it came, and whether a new run may go on in it."""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import shutil
import stat
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TextIO

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from cvae.config import digest, flatten
from cvae.errors import DiskError, DivergedError, MissingFileError, UserError, innermost, printable
from cvae.files import read_text, write_json

RESULT, CONFIG = "result.json", "config.yaml"
LAST = Path("checkpoints", "last.ckpt")
#: all that a run writes into its folder beside its logs, as patterns
WRITTEN = (RESULT, CONFIG, "checkpoints", "csv", "figures", "wandb", "events.out.tfevents.*")
#: its logs and its lock, and what a sweep writes
KEPT = ("train.log", "run.log", ".lock", "multirun.yaml")
FOLDERS = ("checkpoints", "csv", "figures", "wandb")

#: entries that decide where and how fast a result is found, not which
INDECISIVE = ("run_dir", "choices", "threads", "logger", "data.cache", "callbacks.progress", "callbacks.figures")

FINISHED, RUNNING, FAILED, DIVERGED = "finished", "running", "failed", "diverged"
SHOWN_DIFFERENCES = 6
#: what to do about a record that is damaged
MENDED = "if its run is no longer needed, remove its folder, or name another one with hydra.run.dir=..."
#: 0 where the system has none
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class FolderTakenError(UserError):
    """A folder that holds another run."""


@dataclass(frozen=True)
class Start:
    """How a run begins.

    Attributes:
        config_hash: of the config as it was asked for, see :func:`identify`.
        checkpoint: to go on from; None to begin at the beginning.
        step: the optimiser step at which it was written; None without one.
        loggers: by which names the loggers of the run know it, by their classes.
    """

    config_hash: str
    checkpoint: Path | None = None
    step: int | None = None
    loggers: Mapping[str, str] = field(default_factory=dict)


def identify(settings: Mapping[str, Any]) -> str:
    """Hash of a plain config, by which a run is recognised; see :data:`INDECISIVE` for what it leaves out."""
    return digest(decisive(settings))


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The flattened config without what decides no result."""
    return {
        name: value
        for name, value in flatten(settings).items()
        if not any(name == entry or name.startswith(f"{entry}.") for entry in INDECISIVE)
    }


def read(run_dir: Path) -> dict[str, Any] | None:
    """The record ``result.json`` of a folder; None if there is none.

    Raises:
        UserError: if it cannot be read.
    """
    path = run_dir / RESULT
    try:
        found = _shown(json.loads(read_text(path)))
    except MissingFileError:
        return None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); {MENDED}") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply for a record of a run; {MENDED}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no record of a run; {MENDED}")
    for name, (is_right, expected) in ENTRIES.items():
        if name in found and not is_right(found[name]):
            raise UserError(f"{path}: is damaged: {name} is {found[name]!r}, not {expected}; {MENDED}")
    return found


def _shown(content: Any) -> Any:
    """Plain data without characters that would steer a terminal."""
    if isinstance(content, dict):
        return {printable(key): _shown(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_shown(value) for value in content]
    return printable(content) if isinstance(content, str) else content


def _is_number(value: Any) -> bool:
    # Python's whole numbers have any length
    return value is None or isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


#: what the entries of a record are, for what goes on to use them
ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("status", "config_hash", "optimized_metric", "checkpoint", "error", "stack"), (_is_text, "a text")
    ),
    **dict.fromkeys(("value", "duration_s"), (_is_number, "a number")),
    "measures": (_are_numbers, "numbers by name"),
    "overrides": (_are_texts, "a list of texts"),
    "config": (_is_mapping, "entries by name"),
}


def finished_value(run_dir: Path, config_hash: str) -> float | None:
    """What the same run has reached in ``run_dir``; None if it has not finished there, nan if it reached no number."""
    found = read(run_dir)
    if found is None or found.get("status") != FINISHED or found.get("config_hash") != config_hash:
        return None
    value = found.get("value")
    return math.nan if value is None else float(value)


def is_free_for(run_dir: Path, config_hash: str) -> bool:
    """Whether a run may write to ``run_dir``: nothing of another run would be lost."""
    found = read(run_dir)
    if found is not None and found.get("config_hash") == config_hash:
        return True
    lost = (run_dir / LAST).exists() or (found is not None and found.get("status") not in (FAILED, DIVERGED))
    return not lost


def taken(run_dir: Path, settings: Mapping[str, Any]) -> FolderTakenError:
    """The error for a folder that holds another run than the one with the settled ``settings``."""
    found = read(run_dir)
    if found is None:
        what = f"it holds checkpoints of a run whose {RESULT} is gone"
    else:
        old, new = decisive(found.get("config") or {}), decisive(settings)
        names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
        shown = [
            f"{name} is {old.get(name, 'not set')} there and {new.get(name, 'not set')} here"
            for name in names[:SHOWN_DIFFERENCES]
        ]
        more = [f"{len(names) - len(shown)} more"] if len(names) > len(shown) else []
        differ = "; ".join(shown + more) or "it was written by another version"
        what = f"it holds a {found.get('status')} run with another config: {differ}"
    return FolderTakenError(
        f"{run_dir}: {what}. Nothing was changed. Choose another folder (hydra.run.dir=..., or hydra.sweep.dir=... "
        "for a sweep), or remove this one."
    )


def check_own(run_dir: Path) -> None:
    """Check that whatever a run would write to is a plain file or a folder inside its own folder, which may be another
    person's: a link would lead out of it, and a pipe would never answer.

    Raises:
        UserError: naming the first that is not.
    """
    for entry in os.scandir(run_dir):
        if not any(fnmatch(entry.name, pattern) for pattern in (*WRITTEN, *KEPT)):
            continue
        check_kind(Path(entry), folder=entry.name in FOLDERS)
        # Weights & Biases makes links there
        for parent, folders, files in os.walk(entry.path) if entry.name != "wandb" else ():
            for name in folders + files:
                check_kind(Path(parent, name), folder=name in folders and not Path(parent, name).is_symlink())


def check_kind(path: Path, *, folder: bool = False) -> None:
    """Check that ``path`` is a plain file, or a ``folder``, if there is anything.

    Raises:
        UserError: for anything else, also a link to one.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFIFO: "a pipe"}
    wanted = "a folder" if folder else "a plain file"
    raise UserError(
        f"{path}: is {kinds.get(stat.S_IFMT(mode), 'no file')}, but a run needs {wanted} there. "
        "Remove it, or choose another folder (hydra.run.dir=..., or hydra.sweep.dir=... for a sweep)."
    )


def check_there(run_dir: Path) -> None:
    """Check that the folder of a run that has begun has not been removed; what is written beside may make it anew.

    Raises:
        DiskError: if neither config nor record is left.
    """
    if not (run_dir / CONFIG).exists() and not (run_dir / RESULT).exists():
        raise DiskError(f"{run_dir}: was removed during the run, which has ended. Re-run the same command.")


def open_own(path: str | Path) -> TextIO:
    """Open a plain file of a run's folder to append to it; links are not followed.

    Raises:
        UserError: for anything but a plain file.
    """
    path = Path(path)
    check_kind(path)
    # O_NONBLOCK: a pipe that took its place since then
    return open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags | NOFOLLOW, 0o666))


class OwnLog(logging.FileHandler):
    """Logs into a plain file of a run's folder; where something else is in its place, or in a sweep in that of the
    folder, nowhere: the run itself says it, and is refused (:func:`check_own`)."""

    def _open(self) -> Any:
        try:
            if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
                check_kind(Path(self.baseFilename).parent, folder=True)
            return open_own(self.baseFilename)
        except UserError:
            return open(os.devnull, "a", encoding="utf-8")


def clear(run_dir: Path) -> None:
    """Remove what a run wrote into ``run_dir``, its record first."""
    for path in [path for pattern in WRITTEN for path in run_dir.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def set_aside(run_dir: Path) -> Path:
    """Move what a run wrote into ``run_dir``, beside its record and its config, to a new folder in it; that folder."""
    names = (run_dir / f"aside-{number}" for number in itertools.count(1))
    aside = next(path for path in names if not os.path.lexists(path))
    aside.mkdir()
    for path in [path for pattern in WRITTEN for path in run_dir.glob(pattern)]:
        if path.name not in (RESULT, CONFIG):
            path.rename(aside / path.name)
    return aside


def mark_running(run_dir: Path, start: Start, settings: Mapping[str, Any], overrides: list[str] | None) -> None:
    """Write the record of a run that has begun, so that a later one knows what the folder holds."""
    record = {
        "status": RUNNING,
        "overrides": overrides or [],
        "started": timestamp(),
        "config_hash": start.config_hash,
        "config": settings,
    }
    write_json(run_dir / RESULT, record)


def mark_failed(
    run_dir: Path, config_hash: str, error: BaseException, message: str | None, overrides: list[str] | None = None
) -> None:
    """Write into the record that the run has failed or diverged, and why.

    Args:
        run_dir: the run's folder.
        config_hash: of the run.
        error: what ended it.
        message: what a user can mend; None adds the whole stack.
        overrides: for a run that had no record yet.
    """
    found = read(run_dir) or {"overrides": overrides or [], "config_hash": config_hash}
    stack = None if message else "".join(traceback.format_exception(error))
    cause = innermost(error)
    short = message or f"{type(cause).__name__}: {cause}"
    status = DIVERGED if isinstance(cause, DivergedError) else FAILED
    write_json(run_dir / RESULT, found | {"status": status, "error": short, "stack": stack, "finished": timestamp()})


def timestamp() -> str:
    """Now, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
