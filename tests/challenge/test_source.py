"""One file from several modules: what is needed, in a working order, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvae.challenge.source import Collector, Name, standalone_source

FIRST = '''"""A module."""
from __future__ import annotations
import math
import numpy as np
from torch import Tensor

# a limit
# in two lines
LIMIT, OTHER = 3, 4

def unused() -> float:
    return np.pi

def helper(x: float) -> float:
    """See :func:`house.second.main`."""
    return math.floor(x) + LIMIT

class Base:
    pass
'''
SECOND = """from __future__ import annotations
from house import helper
from house.first import Base

class Part(Base):
    def value(self) -> float:
        return later()

def later() -> float:
    return helper(1.5)

def main() -> float:
    return Part().value()
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package ``house`` on the path."""
    package = tmp_path / "house"
    package.mkdir()
    (package / "__init__.py").write_text("from house.first import helper\n")
    (package / "first.py").write_text(FIRST)
    (package / "second.py").write_text(SECOND)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "house"]:
        del sys.modules[name]


def test_the_file_holds_what_is_needed_and_runs(house: Path) -> None:
    source = standalone_source(["house.second.main"], [], "Title.", "RESULT = main()")
    space: dict[str, object] = {}
    exec(compile(source, "standalone", "exec"), space)
    assert space["RESULT"] == 4
    assert space["TARGETS"] == {"house.second.main": space["main"]}
    assert "# a limit\n# in two lines\nLIMIT, OTHER = 3, 4" in source
    assert "See ``main``." in source
    for absent in ("unused", "numpy", "Tensor", "import house", "from house"):
        assert absent not in source


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("def wanted(): return np.pi\nimport numpy as np", "'np' needs numpy"),
        ("from .first import helper\ndef wanted(): return helper(1)", "relative import"),
        ("from house.first import helper as other\ndef wanted(): return other(1)", "imported as they are"),
        ("import house.first\ndef wanted(): return house.first.helper(1)", "imported as they are"),
        ("from house.second import main\nclass Base: pass\ndef wanted(): return main(), Base", "both define 'Base'"),
        ("", "has no 'wanted'"),
    ],
)
def test_what_cannot_stand_alone_is_refused(house: Path, line: str, message: str) -> None:
    (house / "third.py").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        Collector(["house"]).add("house.third", "wanted")


def test_roots_of_the_project_are_found_through_its_packages() -> None:
    collector = Collector()
    collector.add("cvae.networks", "StandardNormal")
    assert Name("cvae.networks.latent", "StandardNormal") in collector.needed
    assert {name.module for name in collector.needed} == {"cvae.networks.latent"}
