"""The command line that says what reference sets hold and cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]


def test_one_row_for_each_size_and_nothing_is_written(run_script: Run, work: Path) -> None:
    done = run_script("references", "conditions=2", "sizes=[10,200]", "draws=4")
    assert done.status == 0, done.err
    rows = [line.split("|")[1:-1] for line in done.out.splitlines() if line.startswith("| continuum")]
    assert [row[1].strip() for row in rows] == ["10", "200"]
    assert 0 < float(rows[0][3]) < float(rows[1][3]) < 1
    assert list(work.iterdir()) == []


def test_a_senseless_size_is_one_message(run_script: Run, work: Path) -> None:
    done = run_script("references", "conditions=2", "sizes=[0]")
    assert done.status == 1
    assert done.err.strip().endswith("they must be at least 1.")
    assert "Traceback" not in done.err
