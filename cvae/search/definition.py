"""What a search is about, settled and checked before any trial: measure, constraints, space and the fixed settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf, open_dict

from cvae import recipe
from cvae.config import flatten, plain
from cvae.errors import user_message
from cvae.runs.launch import wanted_processes
from cvae.search.overrides import RESERVED, is_group, read_overrides, spelled
from cvae.search.space import Entry, Params, Space, read_space
from cvae.training import DECISIVE, LOWER_IS_BETTER, build, measured_here, settings_of

#: violation of a constraint by a trial whose measures are no numbers; finite, so that any storage can hold it
DIVERGED = 1e6
#: settings that differ from machine to machine and change no result
NEUTRAL = ("data.cache",)


@dataclass(frozen=True)
class Constraint:
    """A bound that a measure must keep.

    Attributes:
        measure: its name, such as ``val/rmse``.
        bound: the value that it must not pass.
        least: whether the bound is the least value allowed, not the largest.
    """

    measure: str
    bound: float
    least: bool

    def violation(self, measures: Mapping[str, float]) -> float:
        """How far the bound is missed, as a share of the bound; 0 or below where it is kept."""
        value = measures.get(self.measure, math.nan)
        if not math.isfinite(value):
            return DIVERGED
        missed = self.bound - value if self.least else value - self.bound
        return missed / abs(self.bound) if self.bound else missed

    def __str__(self) -> str:
        return f"{self.measure} {'>=' if self.least else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Definition:
    """A search, apart from how many trials it gets and where they lie.

    Attributes:
        metric: the measure to optimise, of the model that each trial keeps.
        mode: ``max`` or ``min``.
        keep: the measure by which a trial picks the epoch that it keeps.
        constraints: what a trial must keep to count.
        space: the hyperparameters.
        fixed: overrides of all trials.
        first: values of the first trial, the present settings.
        settings: the training config without the searched values, flat; two searches compare only if they are equal.
    """

    metric: str
    mode: str
    keep: str
    constraints: tuple[Constraint, ...]
    space: Space
    fixed: tuple[str, ...]
    first: Params
    settings: Mapping[str, Any]

    def overrides(self, params: Params) -> list[str]:
        """All overrides of a trial, which make ``train.py`` run it again."""
        return [*self.fixed, *self.space.overrides(params), f"optimized_metric={self.keep}"]

    def identity(self) -> dict[str, Any]:
        """Plain data that must not change within one study."""
        entries = {entry.name: f"{entry.override}: {entry.range()}, log {entry.log}, step {entry.step}, when "
                   f"{ {name: list(values) for name, values in (entry.when or {}).items()} }"
                   for entry in self.space.entries}  # fmt: skip
        return {
            "metric": f"{self.mode} {self.metric}",
            "keep": self.keep,
            "overrides": ", ".join(self.fixed),
            "constraints": ", ".join(map(str, self.constraints)),
            **{f"space.{name}": text for name, text in entries.items()},
            **self.settings,
        }


def define(search: DictConfig, overrides: Any) -> Definition:
    """Settle and check a search; needs Hydra to be initialised on ``conf``.

    Args:
        search: ``metric``, ``keep``, ``constraints`` and ``space``; may point to entries of the training config.
        overrides: those that all trials share.

    Raises:
        ValueError: for anything that would make trials fail or mean nothing; the message names the entry.
    """
    fixed = [str(override.input_line) for override in read_overrides(overrides)]
    base = _compose(fixed, "overrides")
    choices = dict(_compose(fixed, "overrides", hydra_config=True).hydra.runtime.choices)
    raw = OmegaConf.to_container(search, resolve=False)
    with open_dict(base):
        base.search = raw
    settings = plain(base.search)
    with open_dict(base):
        del base["search"]
    if wanted_processes(base) > 1:
        raise ValueError("a trial runs in one process; leave trainer.devices at 1 and start the command several times.")
    space = read_space(settings["space"] or {})
    _check_keys(space, fixed)
    for params in space.samples():
        _compose([*fixed, *space.overrides(params)], "search.space")
    try:
        data, model = build(base)
    except InstantiationException as error:
        message = user_message(error)
        if message is None:
            raise
        raise ValueError(message) from error
    known = measured_here(data, model)
    metric = settings["metric"]
    constraints = _read_constraints(settings["constraints"] or {})
    used = [(metric, "search.metric"), (settings["keep"], "search.keep")]
    for name, where in [*used, *((one.measure, "search.constraints") for one in constraints)]:
        if name not in known:
            raise ValueError(f"{where} names {name!r}, which is not measured; choose from {', '.join(sorted(known))}.")
    return Definition(
        metric, direction(metric), settings["keep"], constraints, space, tuple(fixed),
        _present(space, base, choices, fixed), _comparable(base, space),
    )  # fmt: skip


def direction(metric: str) -> str:
    """``min`` or ``max``, whichever way ``metric`` is better."""
    return "min" if metric.split("/")[-1] in LOWER_IS_BETTER else "max"


def _compose(overrides: Sequence[str], where: str, hydra_config: bool = False) -> DictConfig:
    try:
        return hydra.compose("train", list(overrides), return_hydra_config=hydra_config)
    except HydraException as error:
        raise ValueError(f"{where}: {error}") from error


def _check_keys(space: Space, fixed: Sequence[str]) -> None:
    taken = {override.key_or_group for override in read_overrides(list(fixed))}
    for entry in space.entries:
        if entry.override.lstrip("+") in RESERVED:
            raise ValueError(
                f"search.space.{entry.name} sets {entry.override}: {RESERVED[entry.override.lstrip('+')]}."
            )
        if entry.override.lstrip("+") in taken:
            raise ValueError(f"{entry.override} is in overrides and in search.space ({entry.name}); leave one out: "
                             f"\"search.space={{{entry.name}:null}}\" takes it out of the space.")  # fmt: skip


def _read_constraints(config: Mapping[str, Any]) -> tuple[Constraint, ...]:
    found = []
    for measure, bounds in config.items():
        where = f"search.constraints.{measure}"
        if bounds is None:
            continue
        if not isinstance(bounds, Mapping) or not bounds or not set(bounds) <= {"at_least", "at_most"}:
            raise ValueError(f"{where} is {bounds!r}; it must be {{at_least: ...}} or {{at_most: ...}}.")
        for name, bound in bounds.items():
            if isinstance(bound, bool) or not isinstance(bound, int | float):
                raise ValueError(f"{where}.{name} is {bound!r}; it must be a number.")
            found.append(Constraint(str(measure), float(bound), name == "at_least"))
    return tuple(found)


def _present(space: Space, base: DictConfig, choices: Mapping[str, Any], fixed: Sequence[str]) -> Params:
    """Values of the first trial: those that the training config has without the search."""
    params: Params = {}
    for entry in space.entries:
        if not entry.applies(params):
            continue
        if entry.default is not None:
            params[entry.name] = entry.default
            continue
        if is_group(entry.override):
            present = _present_choice(entry, base, choices.get(entry.override), fixed)
        else:
            present = plain(OmegaConf.select(base, entry.override.lstrip("+")))
        # lists are chosen by their text
        written = [choice for choice in entry.choices if spelled(choice) == spelled(present).replace(" ", "")]
        value = written[0] if written else present
        if not entry.holds(value):
            raise ValueError(
                f"search.space.{entry.name}: the present setting of {entry.override}, {spelled(present)}, is not among "
                f"{entry.range()}; put it in, or give the entry a default: to start from."
            )
        params[entry.name] = value
    return params


def _present_choice(entry: Entry, base: DictConfig, chosen: Any, fixed: Sequence[str]) -> Any:
    """The choice of a group that gives the present settings, such as ``dense`` where ``auto`` became that."""
    if chosen in entry.choices:
        return chosen
    node = entry.override.replace("/", ".")
    for choice in entry.choices:
        other = _compose([*fixed, f"{entry.override}={choice}"], "search.space")
        other.recipe = base.recipe
        recipe.choose_model(other)
        if plain(OmegaConf.select(other, node)) == plain(OmegaConf.select(base, node)):
            return choice
    return chosen


def _comparable(base: DictConfig, space: Space) -> dict[str, Any]:
    """Settings that decide a result, without those that the space sets."""
    with open_dict(base):
        base.run_dir = "."
    settings = settings_of(base)
    flat = flatten({group: settings[group] for group in DECISIVE if group in settings})
    searched = [entry.override.lstrip("+").replace("/", ".") for entry in space.entries]
    # a searched group decides all that lies in it
    return {
        name: value
        for name, value in flat.items()
        if name not in NEUTRAL and not any(name == key or name.startswith(f"{key}.") for key in searched)
    }
