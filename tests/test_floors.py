"""The rooms of the package stand on floors; each imports from the floors below it and from no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cvae"

#: from the top down
FLOORS = (
    "commands",
    "api",
    "challenge",
    "runs",
    "show",
    "generation",
    "baselines",
    "models",
    "data",
    "inversion",
    "losses",
    "optimizers",
    "networks",
    "tasks",
    "metrics",
    "sampling",
    "recording",
    "seeds",
    "config",
    "command_lines",
    "archives",
    "files",
    "errors",
)
#: the door of the package: it opens to the model when that is asked for
DOOR = "__init__"


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module of every import, those inside functions too; what is for type checkers alone is left out."""
    inside = ast.iter_child_nodes(node)
    if isinstance(node, ast.Import):
        yield from ((node.lineno, name.name) for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: a relative import, whose room cannot be read from its text"
        # from cvae import name: the name is the room
        names = [name.name for name in node.names] if node.module == "cvae" else [""]
        yield from ((node.lineno, f"{node.module}.{name}".rstrip(".")) for name in names)
    elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        inside = iter(node.orelse)
    for each in inside:
        yield from imports_of(each)


def rooms_imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and room of every import from the package."""
    for line, module in imports_of(ast.parse(source)):
        package, _, rest = module.partition(".")
        if package == "cvae":
            room = rest.partition(".")[0]
            yield line, DOOR if room == "" or room == "CVAE" or room.startswith("_") else room


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if room_of(path) != DOOR)
PLACED = [path for path in MODULES if room_of(path) in FLOORS]


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in MODULES} == set(FLOORS)


@pytest.mark.parametrize("path", PLACED, ids=[str(path.relative_to(PACKAGE)) for path in PLACED])
def test_a_room_imports_from_below_alone(path: Path) -> None:
    # from its own floor, from those below and from the door
    allowed = {*FLOORS[FLOORS.index(room_of(path)) :], DOOR}
    found = [(line, room) for line, room in rooms_imported(path.read_text()) if room not in allowed]
    assert not found, f"{path.relative_to(PACKAGE)} imports from above, or what has no floor: {found}"


def test_the_door_is_for_the_model_and_what_is_above_it() -> None:
    """``from cvae import CVAE`` opens the room of the models, so only rooms above may use it."""
    below = FLOORS[FLOORS.index("models") :]
    for path in PLACED:
        if room_of(path) in below:
            assert "cvae.CVAE" not in {module for _, module in imports_of(ast.parse(path.read_text()))}, path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import cvae.tasks.lines", ["tasks"]),
        ("from cvae.tasks import Lines", ["tasks"]),
        ("from cvae import tasks, seeds", ["tasks", "seeds"]),
        ("from cvae import CVAE, __version__", [DOOR, DOOR]),
        ("def f():\n    from cvae.runs.train import train", ["runs"]),
        ("try:\n    import cvae.runs\nexcept ImportError:\n    import cvae.show", ["runs", "show"]),
        ("if TYPE_CHECKING:\n    from cvae.runs import train\nelse:\n    import cvae.show", ["show"]),
        ("import torch, cvae_other\nfrom pathlib import Path", []),
    ],
)
def test_imports_are_read_from_the_text(source: str, expected: list[str]) -> None:
    assert [room for _, room in rooms_imported(source)] == expected
