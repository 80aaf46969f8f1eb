"""How something was made, as plain data, so that a checkpoint can tell how to make it again.

This module is copied into submission bundles (:mod:`cvae.challenge.source`), so it uses the standard library only.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Maker = TypeVar("Maker", bound=Callable[..., Any])


def recorded(make: Maker) -> Maker:
    """Decorator of a class or a function: what it makes gets an attribute ``config``, its name and arguments.

    ``config`` is what :func:`hydra.utils.instantiate` makes the same from: ``_target_`` and the arguments that were
    given, with the ``config`` of those that have one. It is None where an argument is no plain data. Objects of a
    subclass are recorded if that is decorated itself.
    """
    signature = inspect.signature(make)
    kinds = {one.kind: one.name for one in signature.parameters.values()}
    further = kinds.get(inspect.Parameter.VAR_KEYWORD, "")
    room, name = make.__module__.split("."), make.__qualname__
    # the project's rooms name all that they hold
    target = ".".join([*(room[:2] if room[0] == "cvae" else room), name])

    def note(made: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs).arguments
            others = bound.pop(further, {})
            arguments = {key: _plain(value) for key, value in (bound | others).items()}
            config: dict[str, Any] | None = {"_target_": target, **arguments}
        except TypeError:
            config = None
        # also of what is frozen
        object.__setattr__(made, "config", config)
        return made

    if not inspect.isclass(make):

        @functools.wraps(make)
        def call(*args: Any, **kwargs: Any) -> Any:
            return note(make(*args, **kwargs), *args, **kwargs)

        return call  # type: ignore[return-value]

    build = make.__init__  # type: ignore[misc]

    @functools.wraps(build)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        if type(self) is make:
            note(self, *args, **kwargs)

    make.__init__ = init  # type: ignore[misc, method-assign]
    make.recorded_as = target  # type: ignore[attr-defined]
    return make


def _plain(value: Any) -> Any:
    """A copy of ``value`` as plain data.

    Raises:
        TypeError: if it holds anything else.
    """
    own = getattr(value, "config", None)
    if isinstance(own, Mapping):
        value = own
    elif isinstance(value, functools.partial | type):
        # a class that is to be called later, with what is given already
        later = functools.partial(value)
        # its own name, not that of a base; a builtin has no vars, which is a TypeError, too
        name = vars(later.func).get("recorded_as")
        if later.args or name is None:
            raise TypeError(f"{value} is no plain data")
        value = {"_target_": name, "_partial_": True, **later.keywords}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no plain data")
