"""One file from several modules: each whole, in a working order, and without what it may not use."""

from __future__ import annotations

import ast
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cvae.networks
from cvae.challenge.source import check_names, standalone_source
from cvae.models.checkpoints import ALLOWED_TARGETS

FIRST = '''"""A module."""
from __future__ import annotations
import math
from torch import (
    Tensor,
    nn,
)

# a limit
LIMIT, OTHER = 3, 4

def helper(x: float) -> float:
    return math.floor(x) + LIMIT

class Base:
    pass
'''
SECOND = """from house import helper
from house.first import Base
from cvae.networks.posteriors import LOG_VAR_LIMIT

class Part(Base):
    def value(self) -> float:
        return later()

def later() -> float:
    return helper(1.5)

def main() -> float:
    return Part().value() + LOG_VAR_LIMIT

if __name__ == "__main__":
    raise RuntimeError("this is no script")
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


def test_modules_of_a_user_are_copied_whole_and_run(house: Path) -> None:
    source = standalone_source(["house.second.main", "torch.nn.Identity"], "Title.", "RESULT = main()")
    space: dict[str, object] = {"__name__": "__main__"}
    exec(compile(source, "standalone", "exec"), space)
    assert space["RESULT"] == 16
    assert space["TARGETS"]["house.second.main"] is space["main"]  # type: ignore[index]
    assert "# a limit\nLIMIT, OTHER = 3, 4" in source
    for absent in ("import house", "from house", "import cvae", "from cvae"):
        assert absent not in source


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import numpy as np\ndef wanted(): return np.pi", r"house\.third: has `import numpy as np`"),
        ("from .first import helper\ndef wanted(): return helper(1)", "has `from .first import helper`"),
        ("from house.first import helper as other\ndef wanted(): return other(1)", "helper as other`"),
        ("import house.first\ndef wanted(): return house.first.helper(1)", "has `import house.first`"),
        ("from cvae.tasks import Lines\ndef wanted(): return Lines", r"cvae\.\S+: has `"),
        ("class Head: pass\ndef wanted(): return Head", "house.third and cvae.networks.heads both define 'Head'"),
    ],
)
def test_what_cannot_stand_alone_is_refused(house: Path, line: str, message: str) -> None:
    (house / "third.py").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        standalone_source(["house.third.wanted"], "Title.", "")


def test_no_two_modules_of_a_bundle_define_one_name() -> None:
    folder = Path(cvae.networks.__file__).parent
    names = [f"cvae.networks.{module.name}" for module in pkgutil.iter_modules([str(folder)])]
    names += ["cvae.sampling", "cvae.tasks.space", "cvae.tasks.lines", "cvae.tasks.box", "cvae.challenge.standalone"]
    root = folder.parents[1]
    texts = {name: (root / f"{name.replace('.', '/')}.py").read_text() for name in names}
    check_names(texts)
    with pytest.raises(ValueError, match=r"cvae\.sampling and mine both define 'chunks'"):
        check_names(texts | {"mine": "chunks = 3"})


def test_everything_that_a_checkpoint_may_name_for_its_network_fits_into_one_file() -> None:
    networks = [name for name in ALLOWED_TARGETS if name.startswith("cvae.networks")]
    targets = sorted([*networks, "cvae.tasks.Lines", "cvae.tasks.Box"])
    source = standalone_source(targets, "Title.", "")
    tops = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert tops - sys.stdlib_module_names == {"torch", "yaml"}
