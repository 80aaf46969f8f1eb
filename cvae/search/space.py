"""A search space as it stands in ``conf/search/*.yaml``: checked when it is read, sampled by an Optuna trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvae.search.overrides import spelled

if TYPE_CHECKING:
    from optuna import Trial

Value = bool | int | float | str | None
Params = dict[str, Value]

FIELDS = {"choices", "low", "high", "log", "step", "when", "override", "default"}
NUMBER = {"low", "high", "log", "step"}
#: significant digits that a proposed number keeps, and those that one may have which a person wrote
DIGITS, WRITTEN = 3, 6


@dataclass(frozen=True)
class Entry:
    """One hyperparameter: a choice (``choices`` is not empty) or a number from ``low`` to ``high``.

    Attributes:
        name: of the hyperparameter in tables and pictures.
        override: the Hydra override that it sets, a value (``optimizer.lr``) or a group (``model``).
        choices: values to choose from.
        low, high: ends of the range, both included; whole numbers if both are.
        log: whether the range is searched on a logarithmic scale.
        step: distance of neighbouring values; None for any.
        when: the entry applies only where each of these other entries has one of the listed values.
        default: value of the first trial; None takes it from the config.
    """

    name: str
    override: str
    choices: tuple[Value, ...] = ()
    low: int | float = 0
    high: int | float = 0
    log: bool = False
    step: int | float | None = None
    when: Mapping[str, tuple[Value, ...]] | None = None
    default: Value = None

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers."""
        return not self.choices and isinstance(self.low, int) and isinstance(self.high, int)

    def applies(self, params: Mapping[str, Value]) -> bool:
        """Whether the entry is in use beside the values of the entries before it."""
        return all(name in params and params[name] in allowed for name, allowed in (self.when or {}).items())

    def holds(self, value: Value) -> bool:
        """Whether ``value`` is one of those that can be proposed."""
        if self.choices:
            return value in self.choices
        if isinstance(value, bool | str) or value is None:
            return False
        return self.low <= value <= self.high and (not self.whole or float(value).is_integer())

    def suggest(self, trial: Trial) -> Value:
        """Ask Optuna for a value."""
        if self.choices:
            chosen: Value = trial.suggest_categorical(self.name, self.choices)
            return chosen
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def range(self) -> str:
        """The values in words, for messages."""
        if self.choices:
            return ", ".join(spelled(choice) for choice in self.choices)
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Space:
    """Hyperparameters in the order in which they are proposed."""

    entries: tuple[Entry, ...]

    def suggest(self, trial: Trial) -> Params:
        """Ask Optuna for a value of each entry that applies."""
        params: Params = {}
        for entry in self.entries:
            if entry.applies(params):
                params[entry.name] = entry.suggest(trial)
        return params

    def overrides(self, params: Mapping[str, Value]) -> list[str]:
        """Hydra overrides that set ``params``; proposed numbers are rounded, so that people can read them."""
        used = [entry for entry in self.entries if entry.name in params]
        return [f"{entry.override}={spelled(readable(params[entry.name]))}" for entry in used]

    def samples(self) -> list[Params]:
        """A few sets of values, of which each choice of each entry is in at least one."""
        found: list[Params] = [self._filled({})]
        for entry in self.entries:
            for choice in entry.choices:
                params = self._filled({entry.name: choice})
                if params not in found:
                    found.append(params)
        return found

    def _filled(self, wanted: Params) -> Params:
        """Values of all entries that apply: ``wanted``, what these need, and otherwise the first of each."""
        needed = dict(wanted)
        for entry in reversed(self.entries):
            if entry.name in needed:
                for name, allowed in (entry.when or {}).items():
                    needed.setdefault(name, allowed[0])
        params: Params = {}
        for entry in self.entries:
            if entry.applies(params):
                first = entry.choices[0] if entry.choices else entry.low
                params[entry.name] = needed.get(entry.name, first)
        return params


def readable(value: Value) -> Value:
    """A number with many digits rounded to few; anything else as it is."""
    if isinstance(value, float) and float(f"{value:.{WRITTEN}g}") != value:
        return float(f"{value:.{DIGITS}g}")
    return value


def read_space(config: Mapping[str, Any]) -> Space:
    """Read ``search.space``.

    Args:
        config: plain entries by name.

    Raises:
        ValueError: for entries that make no sense; the message names the first.
    """
    if not config:
        raise ValueError("search.space is empty; name at least one hyperparameter.")
    entries: dict[str, Entry] = {}
    for name, content in config.items():
        if content is None:
            continue  # switched off by search.space.NAME=null
        entry = _read_entry(str(name), content)
        _check_when(entry, entries)
        twin = [other for other in entries.values() if other.override == entry.override and not _exclude(other, entry)]
        if twin:
            raise ValueError(
                f"search.space.{name} sets {entry.override}, as {twin[0].name} does; give both a when: that excludes "
                "the other."
            )
        entries[entry.name] = entry
    return Space(tuple(entries.values()))


def _read_entry(name: str, content: Any) -> Entry:
    where = f"search.space.{name}"
    if not isinstance(content, Mapping):
        raise ValueError(f"{where} is {content!r}; it must be {{choices: [...]}} or {{low: ..., high: ...}}.")
    unknown = sorted(set(content) - FIELDS)
    if unknown:
        raise ValueError(f"{where} has {unknown[0]!r}; it may have {', '.join(sorted(FIELDS))}.")
    when = content.get("when")
    if when is not None and not isinstance(when, Mapping):
        raise ValueError(f"{where}.when is {when!r}; it must name other entries, as in {{model: [dense, deep]}}.")
    common: dict[str, Any] = {
        "name": name,
        "override": str(content.get("override", name)),
        "when": {str(key): tuple(_listed(value)) for key, value in (when or {}).items()},
        "default": content.get("default"),
    }
    if "choices" in content:
        if NUMBER & set(content):
            raise ValueError(f"{where} has choices and {min(NUMBER & set(content))}; it must be one or the other.")
        entry = Entry(choices=_read_choices(where, content["choices"]), **common)
    else:
        entry = Entry(**_read_range(where, content), **common)
    if entry.default is not None and not entry.holds(entry.default):
        raise ValueError(f"{where}.default is {entry.default!r}, which is not among {entry.range()}.")
    return entry


def _read_choices(where: str, choices: Any) -> tuple[Value, ...]:
    if not isinstance(choices, Sequence) or isinstance(choices, str) or len(choices) == 0:
        raise ValueError(f"{where}.choices is {choices!r}; it must be a list of at least one value.")
    for choice in choices:
        if not isinstance(choice, bool | int | float | str | None):
            raise ValueError(f"{where}.choices holds {choice!r}; write a list or a dict as text, '[256,256]'.")
    if len({spelled(choice) for choice in choices}) < len(choices):
        raise ValueError(f"{where}.choices holds a value twice: {choices!r}.")
    return tuple(choices)


def _read_range(where: str, content: Mapping[str, Any]) -> dict[str, Any]:
    for end in ("low", "high"):
        value = content.get(end)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{where}.{end} is {value!r}; an entry needs choices, or two numbers low and high.")
    low, high, log, step = content["low"], content["high"], content.get("log", False), content.get("step")
    if not low < high:
        raise ValueError(f"{where} has low {low} and high {high}, an empty range; low must be below high.")
    if not isinstance(log, bool):
        raise ValueError(f"{where}.log is {log!r}; it must be true or false.")
    if log and low <= 0:
        raise ValueError(f"{where}.low is {low}; on a logarithmic scale it must be positive.")
    if step is not None:
        if log:
            raise ValueError(f"{where} has log and step; it must be one or the other.")
        if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= high - low:
            raise ValueError(f"{where}.step is {step!r}; it must be positive and at most high - low.")
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, int):
            low, high = float(low), float(high)
    return {"low": low, "high": high, "log": log, "step": step}


def _check_when(entry: Entry, before: Mapping[str, Entry]) -> None:
    for name, allowed in (entry.when or {}).items():
        where = f"search.space.{entry.name}.when"
        if name not in before:
            raise ValueError(f"{where} names {name!r}, which is no entry above it ({', '.join(before) or 'none'}).")
        if not before[name].choices:
            raise ValueError(f"{where} names {name!r}, which is a number; only choices can be asked for.")
        unknown = [value for value in allowed if value not in before[name].choices]
        if unknown or not allowed:
            known = ", ".join(spelled(choice) for choice in before[name].choices)
            raise ValueError(f"{where}.{name} is {list(allowed)!r}; it must hold some of {known}.")


def _exclude(first: Entry, second: Entry) -> bool:
    """Whether no values of other entries make both apply."""
    one, other = first.when or {}, second.when or {}
    return any(not set(one[name]) & set(other[name]) for name in set(one) & set(other))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
