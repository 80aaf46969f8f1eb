"""A run's folder: what was asked of it, how far it came, and whether a new run may go on in it."""

from __future__ import annotations

import json
import math
import shutil
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvae.config import digest, flatten
from cvae.errors import UserError, innermost
from cvae.files import write_json

RESULT = "result.json"
LAST = Path("checkpoints", "last.ckpt")
#: all that a run writes into its folder beside its log, as patterns
WRITTEN = (RESULT, "config.yaml", "checkpoints", "csv", "figures", "wandb", "events.out.tfevents.*")

#: entries that decide where and how fast a result is found, not which
INDECISIVE = ("run_dir", "choices", "threads", "logger", "data.cache", "callbacks.progress", "callbacks.figures")

FINISHED, RUNNING, FAILED = "finished", "running", "failed"
SHOWN_DIFFERENCES = 6


class FolderTakenError(UserError):
    """A folder that holds another run."""


@dataclass(frozen=True)
class Start:
    """How a run begins.

    Attributes:
        config_hash: of the config as it was asked for, see :func:`identify`.
        checkpoint: to go on from; None to begin at the beginning.
    """

    config_hash: str
    checkpoint: Path | None = None


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
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no record of a run.")
    return found


def finished_value(run_dir: Path, config_hash: str) -> float | None:
    """What the same run has reached in ``run_dir``; None if it has not finished there, nan if it reached no number."""
    found = read(run_dir)
    if found is None or found.get("status") != FINISHED or found.get("config_hash") != config_hash:
        return None
    return math.nan if found["value"] is None else float(found["value"])


def is_free_for(run_dir: Path, config_hash: str) -> bool:
    """Whether a run may write to ``run_dir``: nothing of another run would be lost."""
    found = read(run_dir)
    if found is not None and found.get("config_hash") == config_hash:
        return True
    lost = (run_dir / LAST).exists() or (found is not None and found.get("status") != FAILED)
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


def clear(run_dir: Path) -> None:
    """Remove what a run wrote into ``run_dir``, its record first."""
    for path in [path for pattern in WRITTEN for path in run_dir.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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
    """Write into the record that the run has failed, and why.

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
    write_json(run_dir / RESULT, found | {"status": FAILED, "error": short, "stack": stack, "finished": timestamp()})


def timestamp() -> str:
    """Now, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
