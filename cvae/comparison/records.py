"""The records of runs, found below a folder."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvae.config import flatten
from cvae.runs.folder import FINISHED, RESULT, RUNNING, decisive, read
from cvae.runs.locks import in_use

log = logging.getLogger(__name__)

#: a run that has begun, and that no process works on
INTERRUPTED = "interrupted"

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Run:
    """One run as its record shows it.

    Attributes:
        name: of its folder, relative to the one that was searched.
        status: ``finished``, ``running``, ``interrupted`` or ``failed``.
        overrides: what the user changed, by key, without the marks ``+`` and ``~``.
        settings: the flattened config, without what decides no result; empty where it was not noted.
        measures: final measures by name; nan where a measure is no number.
        optimized_metric: what the run was to be best at; None where it was not noted.
        higher_is_better: which way that measure is better.
        duration_s: seconds that the run took; None unless it has finished.
        error: first line of what ended it.
    """

    name: str
    status: str
    overrides: Mapping[str, Value] = field(default_factory=dict)
    settings: Mapping[str, Value] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    optimized_metric: str | None = None
    higher_is_better: bool = True
    duration_s: float | None = None
    error: str | None = None


def read_runs(folder: Path) -> list[Run]:
    """All runs in ``folder`` and below, by name; a record that cannot be read is left out, and said.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    found = []
    for path in sorted(folder.rglob(RESULT), key=lambda path: _natural(str(path))):
        try:
            record = read(path.parent)
            assert record is not None
            found.append(_run(path.parent, folder, record))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s: left out, since it is no record of a run (%s).", path, error)
    return found


def _run(run_dir: Path, folder: Path, record: dict[str, Any]) -> Run:
    config: dict[str, Any] = record.get("config") or {}
    status = str(record["status"])
    if status == RUNNING and not in_use(run_dir):
        status = INTERRUPTED
    metric = record.get("optimized_metric") or config.get("optimized_metric")
    error = record.get("error")
    # a training that still runs has no measures that could be called final
    measures = record.get("measures", {}) if status == FINISHED else {}
    return Run(
        name=run_dir.relative_to(folder).as_posix(),
        status=status,
        overrides=parse_overrides(record.get("overrides") or []),
        settings={name: _value(value) for name, value in decisive(config).items()},
        measures={str(name): math.nan if value is None else float(value) for name, value in flatten(measures).items()},
        optimized_metric=metric,
        higher_is_better=config.get("optimized_mode") != "min",
        duration_s=record.get("duration_s"),
        error=str(error).splitlines()[0] if error else None,
    )


def parse_overrides(overrides: list[str]) -> dict[str, Value]:
    """``["model=deep", "+trainer.x=1"]`` to ``{"model": "deep", "trainer.x": 1}``; a deletion is the value ``~``."""
    parsed: dict[str, Value] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        parsed[key.lstrip("+~")] = _value(value) if equals and not key.startswith("~") else "~"
    return parsed


def _value(text: Value) -> Value:
    """A number where ``text`` is one."""
    if not isinstance(text, str):
        return text
    try:
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        return text


def _natural(text: str) -> list[tuple[int, str]]:
    """Sorts ``seed=2`` before ``seed=10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
