"""The command line that prints tables of results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Run = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]

TINY = (
    "data.source.train=64",
    "data.source.validation=16",
    "data.source.test=16",
    "data.batch_size=32",
    "data.evaluation.validation=4",
    "data.evaluation.test=4",
    "data.evaluation.references=2",
    "generation.count=5",
    "trainer.max_epochs=1",
    "model=dense",
    "model.hidden=[16]",
    "~callbacks.progress",
)
WORDS = (
    "table=problems",
    "only=[two_birds_low]",
    "conditions=3",
    "seeds=[3]",
    "out=kept",
    "table.title=a title",
    f"overrides={json.dumps(TINY).replace(' ', '')}",
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rows_are_trained_once_measured_and_printed(
    work: Path, run_script: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVAE_CACHE", str(work / "cache"))
    done = run_script("results", *WORDS)
    assert done.status == 0, done.err
    assert sorted(path.name for path in work.iterdir()) == ["cache", "kept"]
    (folder,) = (work / "kept").iterdir()
    assert folder.name.startswith("two_birds_low-3-")
    assert "a title" in done.out
    table = [line for line in done.out.splitlines() if line.startswith("|")]
    names, rows = cells(table[0]), [cells(line) for line in table[2:]]
    plans = list(yaml.safe_load((ROOT / "conf" / "table" / "problems.yaml").read_text())["plans"])
    assert [row[:2] for row in rows] == [["two_birds_low (seed 3)", plan] for plan in plans]
    assert "mode_recall" in names
    assert "coverage_ratio" not in names
    # many refined draws find what a model of one epoch does not
    recall = [float(row[names.index("mode_recall")]) for row in rows]
    assert recall[-1] > recall[0]
    assert "3 unseen conditions" in done.out.splitlines()[-1]

    # a second time nothing is trained, and all but the seconds of the generation is the same
    before = {path: path.stat().st_mtime_ns for path in (work / "kept").rglob("*") if path.is_file()}
    again = run_script("results", *WORDS)
    assert {path: path.stat().st_mtime_ns for path in (work / "kept").rglob("*") if path.is_file()} == before
    seconds = names.index("generate_s")
    repeated = [cells(line) for line in again.out.splitlines() if line.startswith("|")][2:]
    assert [row[:seconds] + row[seconds + 1 :] for row in repeated] == [
        row[:seconds] + row[seconds + 1 :] for row in rows
    ]
