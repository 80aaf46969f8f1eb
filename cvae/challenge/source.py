"""One Python file from the modules that a network needs, each copied whole."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Mapping, Sequence

from hydra.utils import get_object

from cvae.challenge import standalone
from cvae.errors import LONGEST, UserError, printable

#: packages that the file may use beside the standard library
PERMITTED = ("torch", "yaml")


def standalone_source(targets: Sequence[str], title: str, ending: str) -> str:
    """A Python file with all that ``targets`` need, which imports torch, yaml and the standard library only.

    Args:
        targets: dotted names of classes and functions, also given in the file's dictionary ``TARGETS``.
        title: docstring of the file.
        ending: code at its end.

    Raises:
        UserError: for a module that cannot be copied; the message names it.
    """
    packages = {"cvae", *(target.split(".")[0] for target in targets)} - {*PERMITTED}
    # of this module one class is needed; the rest of it would bring Hydra
    needed = [f"LONGEST = {LONGEST}", *(inspect.getsource(part).strip() for part in (printable, UserError))]
    texts: dict[str, str] = {"cvae.errors": "\n\n\n".join(needed)}
    imports: dict[str, set[str]] = {"": {"torch"}}
    for module in [*(str(get_object(target).__module__) for target in targets), standalone.__name__]:
        _copy(module, packages, texts, imports)
    check_names(texts)
    called = {name: name if name.split(".")[0] in PERMITTED else name.rpartition(".")[2] for name in targets}
    entries = "".join(f'    "{target}": {name},\n' for target, name in called.items())
    imports.pop("__future__", None)
    lines = [f"import {name}" for name in sorted(imports.pop(""))]
    lines += [f"from {source} import {', '.join(sorted(names))}" for source, names in sorted(imports.items())]
    parts = [f'"""{title}"""\n\nfrom __future__ import annotations\n\n' + "\n".join(lines)]
    parts += [f"# --- {module}\n\n{text}" for module, text in texts.items()]
    parts += [f"# what the names in the network's config stand for\nTARGETS = {{\n{entries}}}", ending]
    return "\n\n\n".join(parts) + "\n"


def _copy(module: str, packages: set[str], texts: dict[str, str], imports: dict[str, set[str]]) -> None:
    """Add the text of a module to ``texts``, after those that it imports from, and its other imports to ``imports``."""
    if module in texts or module.split(".")[0] not in packages:
        return
    texts[module] = ""  # where modules import each other
    lines = inspect.getsource(importlib.import_module(module)).splitlines()
    for node in reversed(ast.parse("\n".join(lines)).body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = "." * node.level + (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            tops = {(source or alias.name).split(".")[0] for alias in node.names}
            if source and tops <= packages and not any(alias.asname for alias in node.names):
                _copy(source, packages, texts, imports)
            elif tops <= {*PERMITTED, *sys.stdlib_module_names}:
                imports.setdefault(source, set()).update(map(ast.unparse, node.names))
            else:
                raise UserError(
                    f"{module}: has `{ast.unparse(node)}`. A bundle can only take over imports of "
                    f"{', '.join(PERMITTED)} and the standard library, and `from MODULE import NAME` of your own and "
                    "the project's modules; write it so, or move it to a module that the network does not need."
                )
        # what a module does when it is a script is not wanted either
        is_script = isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        if is_script or isinstance(node, ast.Import | ast.ImportFrom):
            del lines[node.lineno - 1 : node.end_lineno]
    del texts[module]
    texts[module] = re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines).strip())


def check_names(texts: Mapping[str, str]) -> None:
    """Check that no name at the top level of one module is that of another.

    Args:
        texts: source of each module.

    Raises:
        UserError: naming the two modules.
    """
    found: dict[str, str] = {}
    for module, text in texts.items():
        for name in [name for node in ast.parse(text).body for name in _defined(node) if not name.startswith("__")]:
            other = found.setdefault(name, module)
            if other != module:
                raise UserError(f"{other} and {module} both define {name!r}, which collide in a bundle; rename one.")


def _defined(node: ast.stmt) -> set[str]:
    """Names that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return {node.name}
    parts = ast.walk(node) if isinstance(node, ast.Assign | ast.AnnAssign) else []
    return {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
