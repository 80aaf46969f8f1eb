"""What a search is about, read from ``conf/search`` and checked before the first trial."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from cvae.config import flatten, plain
from cvae.errors import UserError
from cvae.runs import folder
from cvae.runs.compose import take_choices
from cvae.runs.options import check_entries
from cvae.runs.settle import settle

FIELDS = {"choices", "low", "high", "log", "step", "when", "override", "default"}
#: set by the search itself, or nothing that an experiment file can hold
RESERVED = {"optimized_metric", "optimized_mode", "run_dir", "debug", "hydra"}
#: violation of a constraint by a trial without the measure; finite, so that any database can hold it
UNMEASURED = 1e6


@dataclass(frozen=True)
class Entry:
    """One hyperparameter: ``override`` is set to a value of ``distribution`` where ``when`` holds."""

    name: str
    override: str
    distribution: BaseDistribution
    when: Mapping[str, Sequence[Any]]
    default: Any = None

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether the entry is in use beside the values of the entries above it."""
        return all(name in values and values[name] in allowed for name, allowed in self.when.items())

    def holds(self, value: Any) -> bool:
        """Whether a value is one of the choices, or lies in the range."""
        ends = _ends(self)
        if isinstance(self.distribution, CategoricalDistribution):
            return value in ends
        return isinstance(value, int | float) and bool(ends[0] <= value <= ends[1])

    def suggest(self, trial: Trial) -> Any:
        """A value for the trial; a number of a continuous range is rounded to six digits."""
        of = self.distribution
        if isinstance(of, CategoricalDistribution):
            return trial.suggest_categorical(self.name, of.choices)
        if isinstance(of, IntDistribution):
            return trial.suggest_int(self.name, of.low, of.high, step=of.step, log=of.log)
        assert isinstance(of, FloatDistribution)
        return float(f"{trial.suggest_float(self.name, of.low, of.high, step=of.step, log=of.log):.6g}")


class Settings(TypedDict):
    """Types of the entries of a search."""

    metric: str
    mode: Literal["max", "min"]
    keep: str
    constraints: dict[str, Any] | None
    space: dict[str, Any] | None
    sampler: dict[str, Any]
    pruner: dict[str, Any]


@dataclass(frozen=True)
class Search:
    """A search, apart from how many trials it gets and where they are kept.

    Attributes:
        metric: the measure to optimise, of the epoch that each trial keeps.
        mode: ``max`` or ``min``.
        keep: the measure by which a trial picks the epoch that it keeps.
        constraints: for each measure, ``at_least`` and ``at_most`` that a trial must keep to be the best.
        space: the hyperparameters, in the order in which they are proposed.
        fixed: overrides of all trials.
        data: the chosen member of the config group ``data``.
        first: values of the first trial, the present settings.
        definition: what must be equal for trials to compare: the above and the training config without the space, flat.
    """

    metric: str
    mode: str
    keep: str
    constraints: Mapping[str, Mapping[str, float]]
    space: Sequence[Entry]
    fixed: Sequence[str]
    data: str
    first: Mapping[str, Any]
    definition: Mapping[str, Any]

    def overrides(self, trial: Trial) -> list[str]:
        """The words after ``python train.py`` for proposed values."""
        values: dict[str, Any] = {}
        for entry in self.space:
            if entry.applies(values):
                values[entry.name] = entry.suggest(trial)
        return [*self.fixed, *_words(self.space, values), f"optimized_metric={self.keep}"]

    def violations(self, measures: Mapping[str, float]) -> dict[str, float]:
        """For each bound, by how much it is missed, as a share of it; 0 or below where it is kept."""
        found = {}
        for measure, bounds in self.constraints.items():
            for side, bound in bounds.items():
                value = measures.get(measure, math.nan)
                missed = (bound - value if side == "at_least" else value - bound) / (abs(bound) or 1.0)
                found[f"{measure} {side} {bound:g}"] = missed if math.isfinite(missed) else UNMEASURED
        return found


def read_search(config: DictConfig, overrides: Any) -> Search:
    """The search of a config; Hydra must be initialised on ``conf``.

    Args:
        config: metric, mode, keep, constraints and space; may point to entries of the training config.
        overrides: those of the training config that all trials share.

    Raises:
        UserError: for what would make trials fail or mean nothing; the message names the entry.
    """
    if not isinstance(config, DictConfig):
        raise UserError(f"search is {config!r}; choose a member of conf/search, search=default.")
    if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
        raise UserError(f"overrides is {overrides!r}; it must be a list of texts, \"overrides=['data=product']\".")
    base = compose(overrides, "overrides", return_hydra_config=True)
    chosen = take_choices(base)
    with open_dict(base):
        base.run_dir, base.search = ".", OmegaConf.to_container(config, resolve=False)
    base = settle(base)
    base.run_dir = "."
    settings = plain(base)
    check_entries(settings["search"], Settings, "search")
    asked = {name: settings["search"][name] for name in ("metric", "mode", "keep", "constraints", "space")}
    del settings["search"]
    constraints = {measure: bounds for measure, bounds in (asked["constraints"] or {}).items() if bounds is not None}
    for measure, bounds in constraints.items():
        if not isinstance(bounds, Mapping) or not set(bounds) <= {"at_least", "at_most"}:
            raise UserError(f"search.constraints.{measure} is {bounds!r}; it must be {{at_least: 0.9}} or at_most.")
    space = read_space(asked["space"] or {})
    _check_overrides(space, overrides)
    searched = tuple(entry.override.lstrip("+").replace("/", ".") for entry in space)
    # a searched group decides all entries in it
    rest = {name: value for name, value in folder.decisive(settings).items()
            if not any(f"{name}.".startswith(f"{key}.") for key in searched)}  # fmt: skip
    return Search(
        asked["metric"], asked["mode"], asked["keep"], constraints, space, overrides, str(chosen["data"]),
        _present(space, base, chosen), flatten({"search": asked}) | rest,
    )  # fmt: skip


def read_space(config: Mapping[str, Any]) -> list[Entry]:
    """The entries of ``search.space``; those that are null are left out.

    Raises:
        UserError: for an entry that makes no sense; the message names it.
    """
    space: list[Entry] = []
    for name, content in config.items():
        if content is None:
            continue
        if not isinstance(content, Mapping) or not set(content) <= FIELDS:
            raise UserError(f"search.space.{name} is {content!r}; it must have some of {', '.join(sorted(FIELDS))}.")
        if ("choices" in content) == ("low" in content and "high" in content):
            raise UserError(f"search.space.{name} is {content!r}; it needs either choices, or low and high.")
        when = {key: value if isinstance(value, list) else [value] for key, value in content.get("when", {}).items()}
        above = {entry.name: getattr(entry.distribution, "choices", ()) for entry in space}
        if not all(allowed and set(allowed) <= set(above.get(key, ())) for key, allowed in when.items()):
            raise UserError(f"search.space.{name}.when is {when}; it must name values of choices further above.")
        try:
            distribution = _distribution(content)
        except (ValueError, TypeError) as error:
            raise UserError(f"search.space.{name} is {content!r}: {error}") from error
        space.append(Entry(name, content.get("override", name), distribution, when, content.get("default")))
    if not space:
        raise UserError("search.space is empty; name at least one hyperparameter.")
    return space


def compose(overrides: Sequence[str], where: str, **options: bool) -> DictConfig:
    """The training config with overrides.

    Raises:
        UserError: for an override of nothing; the message begins with ``where``.
    """
    try:
        return hydra.compose("train", list(overrides), **options)
    except HydraException as error:
        raise UserError(f"{where}: {error}") from error


def _distribution(content: Mapping[str, Any]) -> BaseDistribution:
    if "choices" in content:
        return CategoricalDistribution(content["choices"])
    low, high, step, log = content["low"], content["high"], content.get("step"), content.get("log", False)
    # whole numbers at both ends make whole numbers
    if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(low, high, log=log, step=step)


def _check_overrides(space: Sequence[Entry], fixed: Sequence[str]) -> None:
    """Check what is set twice, and compose the training config with each choice of each entry."""
    taken = {word.partition("=")[0].lstrip("+") for word in fixed}
    for name in (name for name in taken if name.startswith("~") or name.split(".")[0] in RESERVED):
        raise UserError(f"overrides holds {name}, which the search sets itself, or best.yaml cannot hold.")
    for entry in space:
        if entry.override.lstrip("+") in taken | RESERVED:
            raise UserError(f"{entry.override} is searched ({entry.name}) and set by overrides or the search itself; "
                            f"\"search.space={{{entry.name}:null}}\" takes it out of the space.")  # fmt: skip
    for turn in range(max(len(_ends(entry)) for entry in space)):
        values: dict[str, Any] = {}
        for entry in space:
            if entry.applies(values):
                values[entry.name] = _ends(entry)[turn % len(_ends(entry))]
        compose([*fixed, *_words(space, values)], "search.space")


def _ends(entry: Entry) -> Sequence[Any]:
    """The choices of an entry, or the ends of its range."""
    of = entry.distribution
    return of.choices if isinstance(of, CategoricalDistribution) else (of.low, of.high)  # type: ignore[attr-defined]


def _present(space: Sequence[Entry], base: DictConfig, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Values that the training config has without the search; ``chosen`` has the members of its groups."""
    values: dict[str, Any] = {}
    for entry in (entry for entry in space if entry.applies(values)):
        key = entry.override.lstrip("+")
        value = chosen[key] if key in chosen else plain(OmegaConf.select(base, key))
        if isinstance(value, list):
            value = json.dumps(value).replace(" ", "")  # choices hold lists as text
        if entry.default is not None and not entry.holds(value):
            # the config leaves it to the recipe, or has nothing of the kind
            value = entry.default
        if value is None:
            raise UserError(f"search.space.{entry.name} has no present setting, since the model of this problem has no "
                            f"{entry.override}; \"search.space={{{entry.name}:null}}\" takes it out of the space, or "
                            "another search fits (conf/search).")  # fmt: skip
        if not entry.holds(value):
            raise UserError(f"search.space.{entry.name} lacks the present setting of {entry.override}, {value}; "
                            "put it in, or give the entry a default: to start from.")  # fmt: skip
        values[entry.name] = value
    return values


def _words(space: Iterable[Entry], values: Mapping[str, Any]) -> list[str]:
    """Hydra overrides that set the values."""
    used = [(entry.override, values[entry.name]) for entry in space if entry.name in values]
    return [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in used]
