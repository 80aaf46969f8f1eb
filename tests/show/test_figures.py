"""Pictures are written whole, several beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvae.show.figures import write_figure
from cvae.tasks.figures import new_figure


def test_several_figures_are_numbered(tmp_path: Path) -> None:
    figures = {name: new_figure(1, 1) for name in ("first", "second", "third")}
    paths = write_figure(tmp_path / "new" / "picture.png", figures)
    assert [path.name for path in paths] == ["picture.png", "picture_1.png", "picture_2.png"]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"picture is .*picture\.txt; it must end in \.png, \.pdf, \.svg"):
        write_figure(tmp_path / "picture.txt", {"only": new_figure(1, 1)})
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_cannot_be_drawn_leaves_nothing(tmp_path: Path) -> None:
    figure = new_figure(1, 1)
    figure.subplots().set_title("$\\unknown$")
    with pytest.raises(ValueError, match="unknown"):
        write_figure(tmp_path / "picture.png", {"only": figure})
    assert list(tmp_path.iterdir()) == []
