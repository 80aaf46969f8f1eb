"""Hostile and damaged files of data are refused in one message of our own, or used rightly."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.hostile.data_files import FileCase, cases, run


def judged(cases: list[FileCase], folder: Path) -> list[str]:
    """What is wrong with each of the cases that are neither refused nor used rightly."""
    wrong = []
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        try:
            run(case, place)
        except Exception as error:
            wrong.append(f"{case.name}: {type(error).__name__}: {str(error)[:300]}")
    return wrong


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [100, pytest.param(None, marks=pytest.mark.slow)])
def test_every_hostile_file_is_refused_or_used_rightly(tmp_path: Path, count: int | None) -> None:
    (tmp_path / "made").mkdir()
    generator = Random(0)
    found = list(cases(tmp_path / "made", generator))
    assert len(found) > 1000
    assert not (wrong := judged(generator.sample(found, count or len(found)), tmp_path)), "\n".join(wrong)
