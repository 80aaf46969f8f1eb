"""The project's commands as a person types them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: text that Hydra reads as it stands
PLAIN = re.compile(r"[\w./+-]+")


def command(name: str, words: Iterable[str] = ()) -> str:
    """A command line that runs from the current folder: a script of the source tree, else ``cvae NAME``.

    Args:
        name: of the command, such as ``train``.
        words: Hydra overrides.
    """
    script = ROOT / ("train.py" if name == "train" else f"scripts/{name}.py")
    # beside an installed package there may be anyone's train.py
    ours = script.is_file() and (ROOT / "pyproject.toml").is_file()
    return shlex.join([*(["python", shown(script)] if ours else ["cvae", name]), *words])


def word(key: str, value: str | Path) -> str:
    """The Hydra override that sets an entry to a text or a path, quoted where Hydra would read more into it."""
    text = str(value)
    if PLAIN.fullmatch(text):
        return f"{key}={text}"
    escaped = text.replace('"', '\\"')
    return f'{key}="{escaped}"'


def shown(path: str | Path) -> str:
    """A path relative to where the user is, if it lies below."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
