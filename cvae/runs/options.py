"""The options of a config, compared with the signatures of what its ``_target_`` entries name."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import logging
import typing
from collections import abc
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, Required, Union, Unpack, get_args, get_origin

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError, ValidationError

from cvae.config import plain
from cvae.errors import UserError

TARGET = "_target_"
#: entries that Hydra reads itself
RESERVED = {TARGET, "_partial_", "_recursive_", "_convert_", "_args_"}
#: those of them that are true or false
FLAGS = ("_partial_", "_recursive_")
#: what a value must be, one and several of them
WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "values true or false"),
    str: ("text", "texts"),
    Path: ("text", "texts"),
    list: ("a list", "lists"),
    dict: ("a mapping", "mappings"),
}
LISTS = (list, tuple, set, frozenset, abc.Sequence, abc.Set, abc.Collection, abc.Iterable)
MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


def check_options(config: Mapping[str, Any], where: str = "") -> None:
    """Check the options of every mapping with a ``_target_`` in ``config``: their names and types, and what is missing.

    Bounds are left to the constructors. Below ``_recursive_: false``, where the receiver builds or uses what is nested,
    options may be missing, as with ``_partial_: true``.

    Args:
        config: nested dicts, lists and plain values, with everything resolved.
        where: the entry at which ``config`` stands, for the messages.

    Raises:
        UserError: for a target that cannot be imported, an unknown option, a value of another type, or a missing one.
    """
    _walk(config, where, complete=True)


def check_entries(values: Mapping[str, Any], reference: Callable[..., Any], where: str, partial: bool = False) -> None:
    """Check ``values``, which have no ``_target_``, as keyword arguments of ``reference``, and all that is nested.

    Args:
        values: as in :func:`check_options`.
        reference: a function, a class or a ``TypedDict``.
        where: the entry at which ``values`` stand; empty for those at the top.
        partial: whether further arguments come from elsewhere, so that required ones may be missing.

    Raises:
        UserError: as :func:`check_options`.
    """
    _compare(values, reference, where, f"{reference.__module__}.{reference.__qualname__}", complete=not partial)
    _walk(values, where, complete=True)


def check_command(cfg: DictConfig, kinds: type) -> None:
    """Check the options of a command line: that those without a default are given, and the types of the simple ones.

    Args:
        cfg: the composed config.
        kinds: a ``TypedDict`` of entries at the top and their types.

    Raises:
        UserError: naming the first that is missing or of another type.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"{missing[0]} is missing; add {missing[0]}=... to the command line.")
    check_entries({name: plain(cfg[name]) for name in kinds.__annotations__}, kinds, "")


def _walk(value: Any, where: str, complete: bool) -> None:
    """Check every mapping in ``value`` that has a ``_target_``; ``complete`` tells whether Hydra builds them itself."""
    if isinstance(value, Mapping):
        if TARGET in value:
            target = imported(value[TARGET], where)
            _compare(value, target, where, value[TARGET], complete and not value.get("_partial_"))
            complete = complete and bool(value.get("_recursive_", True))
        for key, child in value.items():
            _walk(child, _entry(where, key), complete)
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            _walk(child, f"{where}[{index}]", complete)


def imported(name: Any, where: str) -> Callable[..., Any]:
    """What a ``_target_`` of the entry ``where`` names.

    Raises:
        UserError: if it cannot be imported.
    """
    if not isinstance(name, str):
        raise UserError(f"{_entry(where, TARGET)} is {name!r}; it must be the dotted name of a function or a class.")
    # Hydra logs what it raises, and the user would read it twice
    logger = logging.getLogger("hydra.utils")
    disabled, logger.disabled = logger.disabled, True
    try:
        return get_method(name)
    except Exception as error:  # whatever the module raises while it is imported
        reason = error.__cause__ or error
        raise UserError(f"{_entry(where, TARGET)} is {name!r}, which cannot be imported: {reason}.") from error
    finally:
        logger.disabled = disabled


def _compare(values: Mapping[str, Any], target: Any, where: str, name: str, complete: bool) -> None:
    named, others = _options(target)
    for key, value in values.items():
        if key in FLAGS and not isinstance(value, bool):
            raise UserError(f"{_entry(where, key)} is {value!r}; it must be true or false.")
        if key in named:
            _check_value(value, named[key], _entry(where, key))
        elif key not in RESERVED and not others:
            guess = "".join(f" (did you mean {near}?)" for near in difflib.get_close_matches(str(key), named, 1))
            has = ", ".join(named) or "none"
            raise UserError(f"{_entry(where, key)} is no option of {name}{guess}; it has: {has}.")
    given = {*values, *[*named][: len(values.get("_args_", ()))]}
    missing = [_entry(where, key) for key in named if named[key].default is Parameter.empty and key not in given]
    if complete and missing:
        no_default = f"{name} has no default for {'it' if len(missing) == 1 else 'them'}"
        raise UserError(f"{', '.join(missing)} must be set: {no_default}.")


@functools.cache
def _options(target: Any) -> tuple[dict[str, Parameter], bool]:
    """What a function, class or ``TypedDict`` takes by name, and whether it takes further names, too."""
    if typing.is_typeddict(target):
        return {key.name: key for key in _keys(target)}, False
    try:
        parameters = inspect.signature(target).parameters.values()
    except ValueError:  # a builtin that does not tell
        return {}, True
    hints, named, others = _hints(target), {}, False
    for one in parameters:
        annotation = hints.get(one.name, Any)
        if one.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
            named[one.name] = one.replace(annotation=annotation)
        elif one.kind is Parameter.VAR_KEYWORD and get_origin(annotation) is Unpack:
            named |= {key.name: key for key in _keys(get_args(annotation)[0])}
        elif one.kind is Parameter.VAR_KEYWORD:
            others = True
    return named, others


def _keys(kind: Any) -> Iterator[Parameter]:
    """The keys of a ``TypedDict`` as parameters."""
    hints = typing.get_type_hints(kind)
    for key, marked in typing.get_type_hints(kind, include_extras=True).items():
        # a marker in a postponed annotation is not seen by the class itself
        required = {Required: True, NotRequired: False}.get(get_origin(marked), key in kind.__required_keys__)
        default = Parameter.empty if required else ...
        yield Parameter(key, Parameter.KEYWORD_ONLY, default=default, annotation=hints[key])


def _hints(target: Any) -> dict[str, Any]:
    """The annotations without their ``Annotated`` extras; a name that only type checkers know stands for anything."""
    # the fields of a dataclass may come from another module; a NamedTuple has no __init__ of its own
    own = inspect.isclass(target) and not dataclasses.is_dataclass(target) and inspect.isfunction(target.__init__)
    unknown: dict[str, Any] = {}
    while True:
        try:
            return typing.get_type_hints(target.__init__ if own else target, localns=unknown or None)
        except NameError as error:
            if error.name is None or error.name in unknown:
                return {}
            unknown[error.name] = Any
        except (AttributeError, TypeError):
            return {}


def _check_value(value: Any, option: Parameter, entry: str) -> None:
    kinds = _kinds(option.annotation)
    if (value is None and option.default is None) or _has_target(value):
        _check_made(value, kinds, entry)
        return
    keys = next((kind for kind in kinds if typing.is_typeddict(kind)), None)
    if keys is not None and isinstance(value, Mapping):
        check_entries(value, keys, entry)
    elif not any(_accepts(kind, value) for kind in kinds):
        _check_members(value, kinds, entry)
        what = _what(kinds)
        if what in ("", "null"):
            what = f"a mapping with {TARGET}" + f" or {what}" * bool(what)
            # other classes may be made from text, as torch.device is
            if isinstance(value, str) and not all(map(_takes_no_text, kinds)):
                return
        raise UserError(f"{entry} is {value!r}; it must be {what}.")


def _check_members(value: Any, kinds: tuple[Any, ...], entry: str) -> None:
    """Refuse the members of a mapping one by one, so that the message names the one that is wrong."""
    members = [get_args(kind)[1] for kind in kinds if get_origin(kind) in MAPPINGS]
    if isinstance(value, Mapping) and len(members) == 1:
        one = Parameter("member", Parameter.KEYWORD_ONLY, annotation=members[0])
        for key, child in value.items():
            _check_value(child, one, _entry(entry, key))


def _check_made(value: Any, kinds: tuple[Any, ...], entry: str) -> None:
    """Refuse what makes an object of another class than an option takes, where classes tell."""
    if not isinstance(value, Mapping) or TARGET not in value or value.get("_partial_"):
        return
    made = imported(value[TARGET], entry)
    tell = all(inspect.isclass(kind) and kind is not Any and not typing.is_typeddict(kind) for kind in kinds)
    if tell and inspect.isclass(made) and not any(_is_a(made, kind) for kind in kinds):
        raise UserError(f"{_entry(entry, TARGET)} is {value[TARGET]}, which makes no {_one_of(kinds)}.")


def _one_of(kinds: tuple[Any, ...]) -> str:
    return " or ".join(kind.__name__ for kind in kinds if kind is not NoneType)


def _is_a(made: type, kind: type) -> bool:
    if not getattr(kind, "_is_protocol", False):
        return issubclass(made, kind)
    # by its methods, since other members may be set in __init__
    members = {name: member for base in kind.__mro__ if base is not object for name, member in vars(base).items()}
    methods = [name for name, member in members.items() if inspect.isfunction(member)]
    return all(hasattr(made, name) for name in methods if name == "__call__" or not name.startswith("_"))


def _accepts(kind: Any, value: Any) -> bool:
    adapter = _adapter(kind)
    if adapter is None:
        return bool(_words(kind))
    try:
        # JSON has what plain data have: strict mode takes a list for a tuple there, and text for a path
        adapter.validate_json(json.dumps(value, default=str))
    except ValidationError:
        return False
    return True


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any] | None:
    """None for what pydantic cannot check, such as a protocol."""
    if get_origin(kind) is abc.Iterable:
        kind = list[get_args(kind)]  # type: ignore[misc]  # pydantic leaves the values of an Iterable unread
    if typing.is_typeddict(kind):
        kind = dict  # whose keys are checked one by one
    try:
        return TypeAdapter(kind, config=ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False))
    except (PydanticUserError, SchemaError, NameError, TypeError):
        return None


def _what(kinds: tuple[Any, ...], many: bool = False) -> str:
    """What one of ``kinds`` is, in plain words; empty where only objects are meant, which a config cannot hold."""
    literals = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    names = list(dict.fromkeys(map(str, literals)))
    words = [_words(kind, many) for kind in kinds if kind is not NoneType and not (kind is int and float in kinds)]
    words.append(f"{'values out' if many else 'one'} of {', '.join(names)}" if len(names) > 1 else "".join(names))
    # the longest last, so that "or" does not read as a part of "a list of ..."
    words = [*sorted(filter(None, words), key=len), *["null"] * (NoneType in kinds)]
    return " or ".join(dict.fromkeys(words))


def _words(kind: Any, many: bool = False) -> str:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if kind in WORDS:  # a plain type, or a list or dict of anything
        return WORDS[kind][many]
    if origin in MAPPINGS or typing.is_typeddict(kind):
        values = _what(_kinds(args[1]), many=True) if args else ""
        return WORDS[dict][many] + (f" of names to {values}" if values else "")
    if origin not in LISTS:
        return ""
    values = _what(_kinds(args[0]), many=True) if len({*args} - {...}) == 1 else ""
    if origin is tuple and args and args[-1] is not ...:
        values = f"{len(args)} {values or 'values'}"
    return WORDS[list][many] + (f" of {values}" if values else "")


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _takes_no_text(kind: Any) -> bool:
    """Whether ``kind`` is a function, or a class of which nobody makes an object of a text that is given for it."""
    known = str(getattr(kind, "__module__", "")).partition(".")[0] in ("cvae", "datetime")
    return known or kind is NoneType or get_origin(kind) is abc.Callable


def _has_target(value: Any) -> bool:
    if isinstance(value, Mapping):
        return TARGET in value or any(map(_has_target, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_target, value))


def _entry(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
