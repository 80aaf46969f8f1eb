"""One readable Python file from the parts of the project that a network needs.

Nothing is written twice: the classes and functions of a bundle are the project's own source, from the names that are
asked for down to all that they use, with the imports between the project's modules left out.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

PACKAGE = "cvae"
#: packages that the file may use beside the standard library
PERMITTED = ("torch", "yaml")


class Name(NamedTuple):
    """A name at the top level of a module."""

    module: str
    name: str


@dataclass
class Module:
    """A parsed module: what it defines and what it imports, by name."""

    lines: list[str]
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def text(self, node: ast.stmt) -> str:
        """Source of a definition, with its decorators and the comment right above it."""
        start = min([node.lineno, *(part.lineno for part in getattr(node, "decorator_list", []))]) - 1
        while start > 0 and self.lines[start - 1].startswith("#"):
            start -= 1
        return "\n".join(self.lines[start : node.end_lineno])


class Collector:
    """Follows names through the project's modules.

    Args:
        packages: top-level packages whose source is taken over; anything else is imported.
    """

    def __init__(self, packages: Iterable[str] = (PACKAGE,)) -> None:
        self.packages = {*packages, PACKAGE}
        self.modules: dict[str, Module] = {}
        self.needed: dict[Name, ast.stmt] = {}
        self.external: set[tuple[str, str | None, str]] = set()

    def add(self, module: str, name: str) -> str:
        """Collect a name and all that it uses; returns what it is called where it is defined.

        Raises:
            ValueError: if it cannot be found, or needs a package that is not permitted.
        """
        parsed = self._parse(module)
        if name in parsed.definitions:
            self._collect(Name(module, name))
            return name
        if name not in parsed.imports:
            raise ValueError(f"{module} has no {name!r} at its top level; a standalone file cannot be written.")
        source, original = parsed.imports[name]
        if source.split(".")[0] in self.packages:
            if original is None or (found := self.add(source, original)) != name:
                raise ValueError(
                    f"{module}: imports {source} as {name!r}; a standalone file needs names imported as they are."
                )
            return found
        top = source.split(".")[0]
        if top not in PERMITTED and top not in sys.stdlib_module_names:
            raise ValueError(f"{module}: {name!r} needs {top}; a standalone file may use {', '.join(PERMITTED)} only.")
        self.external.add((source, original, name))
        return name

    def _collect(self, name: Name) -> None:
        if name in self.needed:
            return
        other = next((known for known in self.needed if known.name == name.name), None)
        if other is not None:
            raise ValueError(
                f"{other.module} and {name.module} both define {name.name!r}; in a standalone file they would "
                "collide. Rename one of them."
            )
        parsed = self.modules[name.module]
        node = parsed.definitions[name.name]
        self.needed[name] = node
        used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        for part in sorted(used & (parsed.definitions.keys() | parsed.imports.keys())):
            self.add(name.module, part)

    def _parse(self, module: str) -> Module:
        if module not in self.modules:
            source = inspect.getsource(importlib.import_module(module))
            parsed = Module(source.splitlines())
            for node in ast.parse(source).body:
                _register(parsed, node, module)
            self.modules[module] = parsed
        return self.modules[module]

    def ordered(self) -> list[str]:
        """Modules with something needed, each after those that it imports from."""
        order: list[str] = []

        def visit(module: str, path: tuple[str, ...] = ()) -> None:
            if module in order or module in path:
                return
            for source, _ in self._parse(module).imports.values():
                if source in self.modules:
                    visit(source, (*path, module))
            order.append(module)

        for module in list(self.modules):
            visit(module)
        used = {name.module for name in self.needed}
        return [module for module in order if module in used]


def _register(parsed: Module, node: ast.stmt, module: str) -> None:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        parsed.definitions[node.name] = node
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            parsed.definitions |= {part.id: node for part in ast.walk(target) if isinstance(part, ast.Name)}
    elif isinstance(node, ast.Import):
        parsed.imports |= {alias.asname or alias.name.split(".")[0]: (alias.name, None) for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            raise ValueError(f"{module}: has a relative import; a standalone file needs absolute ones.")
        source = node.module or ""
        parsed.imports |= {alias.asname or alias.name: (source, alias.name) for alias in node.names}


def standalone_source(targets: Sequence[str], roots: Sequence[Name], title: str, ending: str) -> str:
    """A Python file that holds ``targets`` and ``roots`` with all that they use, and imports nothing of the project.

    Args:
        targets: dotted names, also given in the file's dictionary ``TARGETS``.
        roots: further names.
        title: docstring of the file.
        ending: code at its end.

    Raises:
        ValueError: if a part cannot stand alone.
    """
    collector = Collector(target.split(".")[0] for target in targets)
    called = {target: collector.add(*target.rsplit(".", 1)) for target in targets}
    for root in roots:
        collector.add(*root)
    head = [f'"""{title}"""', "from __future__ import annotations", _imports(collector.external)]
    parts = ["\n\n".join(head)]
    for module in collector.ordered():
        names = [name for name in collector.needed if name.module == module]
        nodes = sorted({id(node): node for node in map(collector.needed.__getitem__, names)}.values(), key=_line)
        parts.append(f"# --- {module.replace('.', '/')}.py")
        before: ast.stmt | None = None
        for node in nodes:
            text = _plain_references(collector.modules[module].text(node))
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(before, ast.Assign | ast.AnnAssign):
                parts[-1] += "\n" + text
            else:
                parts.append(text)
            before = node
    entries = "".join(f'    "{target}": {name},\n' for target, name in called.items())
    parts += ["# --- this network", f"# what the names in its config stand for\nTARGETS = {{\n{entries}}}", ending]
    return "\n\n\n".join(parts) + "\n"


def _line(node: ast.stmt) -> int:
    return node.lineno


def _imports(external: Iterable[tuple[str, str | None, str]]) -> str:
    """Import lines, the standard library first."""
    plain: list[str] = []
    grouped: dict[str, list[str]] = {}
    for source, original, name in sorted(external, key=lambda entry: tuple(map(str, entry))):
        if original is None:
            plain.append(f"import {source}" if name == source.split(".")[0] else f"import {source} as {name}")
        else:
            grouped.setdefault(source, []).append(original if original == name else f"{original} as {name}")
    lines = plain + [f"from {source} import {', '.join(names)}" for source, names in grouped.items()]
    standard = [line for line in lines if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    return "\n".join(standard) + "\n\n" + "\n".join(line for line in lines if line not in standard)


def _plain_references(text: str) -> str:
    """Sphinx references in docstrings to plain names: they would point at modules that are not there."""
    return re.sub(r":(?:class|func|meth|attr|mod|data):`~?(?:[\w.]*\.)?(\w+)`", r"``\1``", text)
