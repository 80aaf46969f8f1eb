"""The page that lists the modules, compared with the modules."""

import re

from .conftest import ROOT


def listed() -> set[str]:
    """Modules of the table of rooms in docs/design.md, as ``room/module``."""
    found, room = set(), ""
    table = (ROOT / "docs" / "design.md").read_text().split("## Rooms")[1].split("## Contracts")[0]
    for row in re.findall(r"^\|(.*?)\|(.*?)\|.*\|$", table, re.MULTILINE):
        room = next(iter(re.findall(r"`cvae/(\w*)", row[0])), room)
        found |= {f"{room}/{module}" for module in re.findall(r"`(\w+)`", row[1])}
    # the rows of loose modules have no room
    return {name for name in found if (ROOT / "cvae" / name.split("/")[0]).is_dir() and not name.startswith("/")}


def test_every_module_of_a_room_is_listed_and_nothing_else():
    rooms = (ROOT / "cvae").glob("*/*.py")
    modules = {f"{path.parent.name}/{path.stem}" for path in rooms if path.stem != "__init__"}
    assert listed() == modules
