"""Pictures of a study: how it went, which values matter, and where the good ones lie."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from cvae.plots import new_figure
from cvae.search.alive import DEFAULT
from cvae.search.definition import Definition
from cvae.search.overrides import spelled
from cvae.search.space import Entry, Value
from cvae.search.study import feasible, ranked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[[optuna.Study, Definition], "Figure"]

#: kinds of trials: colour, marker, size
STYLES: Mapping[str, tuple[str, str, float]] = {
    "pruned": ("0.7", "x", 18),
    "misses a constraint": ("tab:orange", "v", 22),
    "keeps the constraints": ("tab:blue", "o", 24),
    "present settings": ("black", "*", 90),
}
#: least share of trials that count as good ones in the importance, and how many these should be
SHARE, GOOD = 0.1, 5
#: trials below which an importance would mean nothing
LEAST = 8


def history(study: optuna.Study, definition: Definition) -> Figure:
    """The value of each trial, and the best that keeps the constraints so far.

    Raises:
        ValueError: if there is no trial to show.
    """
    groups = _by_kind(study)
    figure = new_figure(7.0, 3.6)
    axes = figure.subplots()
    for kind, trials in groups.items():
        _scatter(axes, kind, [trial.number for trial in trials], trials)
    sign = 1 if definition.mode == "max" else -1
    best, steps = -math.inf, []
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.COMPLETE and feasible(trial):
            best = max(best, sign * float(trial.value or 0.0))
        if best > -math.inf:
            steps.append((trial.number, sign * best))
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color="tab:blue", linewidth=1, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(definition.metric)
    _clip(axes, groups)
    _legend(figure, [axes])
    return figure


def importance(study: optuna.Study, definition: Definition) -> Figure:
    """Which values make a trial one of the best (PED-ANOVA, Watanabe et al. 2023).

    Trials that miss a constraint rank behind all that keep it. Hyperparameters that few trials have used are left out.

    Raises:
        ValueError: if too few trials are complete.
    """
    order = ranked(study)
    if len(order) < LEAST:
        raise ValueError(f"{len(order)} trials are complete, and it takes {LEAST}.")
    # what few trials have used cannot be told from chance
    times = Counter(name for trial in order for name in trial.params)
    used = [entry.name for entry in definition.space.entries if times[entry.name] >= LEAST]
    places = {trial.number: float(place) for place, trial in enumerate(order)}
    quantile = min(0.5, max(SHARE, GOOD / len(order)))
    with warnings.catch_warnings():
        # that low places are good ones is meant; that few trials say little is said by the title
        warnings.simplefilter("ignore", UserWarning)
        shares = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile),
            params=used,
            target=lambda trial: places[trial.number],
        )
    names = sorted(shares, key=lambda name: shares[name])
    figure = new_figure(6.0, 0.3 * len(names) + 1.0)
    axes = figure.subplots()
    axes.barh(names, [shares[name] for name in names], color="tab:blue", height=0.7)
    for place, name in enumerate(names):
        axes.text(shares[name], place, f" {shares[name]:.2f}", va="center", fontsize="small")
    axes.set_xlim(0, max(shares.values()) * 1.12)
    axes.set_xlabel(f"share in being among the best {quantile:.0%} of {len(order)} complete trials")
    axes.set_title(study.study_name)
    return figure


def slices(study: optuna.Study, definition: Definition) -> Figure:
    """The value of each trial over each of its hyperparameters.

    Raises:
        ValueError: if there is no trial to show.
    """
    groups = _by_kind(study)
    entries = definition.space.entries
    columns = min(4, len(entries))
    rows = math.ceil(len(entries) / columns)
    figure = new_figure(2.7 * columns, 2.3 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for entry, axes in zip(entries, panels, strict=False):
        for kind, trials in groups.items():
            used = [trial for trial in trials if entry.name in trial.params]
            _scatter(axes, kind, _positions(entry, used), used)
        if entry.choices:
            axes.set_xticks(range(len(entry.choices)), [spelled(choice) for choice in entry.choices])
            axes.set_xlim(-0.5, len(entry.choices) - 0.5)
        else:
            _scale(axes, entry)
        axes.set_title(entry.name, fontsize="medium")
        axes.tick_params(labelsize="small")
    for axes in panels[len(entries) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel(definition.metric)
    _clip(panels[0], groups)
    _legend(figure, panels)
    return figure


#: pictures by the names of their files
FIGURES: Mapping[str, Draw] = {"history": history, "importance": importance, "slice": slices}


def _by_kind(study: optuna.Study) -> dict[str, list[FrozenTrial]]:
    groups: dict[str, list[FrozenTrial]] = {kind: [] for kind in STYLES}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if trial.value is None:
            continue  # diverged in the first epoch
        if trial.user_attrs.get(DEFAULT) and trial.state == TrialState.COMPLETE:
            kind = "present settings"
        elif trial.state == TrialState.PRUNED:
            kind = "pruned"
        else:
            kind = "keeps the constraints" if feasible(trial) else "misses a constraint"
        groups[kind].append(trial)
    if not any(groups.values()):
        raise ValueError("no trial has a value yet.")
    return groups


def _scatter(axes: Axes, kind: str, x: Sequence[float], trials: Sequence[FrozenTrial]) -> None:
    if trials:
        colour, marker, size = STYLES[kind]
        axes.scatter(
            x,
            [float(trial.value or 0.0) for trial in trials],
            c=colour,
            marker=marker,
            s=size,
            label=kind,
            linewidths=1,
        )


def _legend(figure: Figure, panels: Iterable[Axes]) -> None:
    known = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(known.values(), known.keys(), loc="outside upper center", ncols=5, fontsize="small", frameon=False)


def _scale(axes: Axes, entry: Entry) -> None:
    """Show the whole range of a number."""
    from matplotlib.ticker import NullFormatter

    low, high = float(entry.low), float(entry.high)
    if entry.log:
        axes.set_xscale("log")
        room = (high / low) ** 0.04
        axes.set_xlim(low / room, high * room)
        if high / low >= 100:
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = 0.04 * (high - low)
        axes.set_xlim(low - room, high + room)


def _positions(entry: Entry, trials: Sequence[FrozenTrial]) -> list[float]:
    if not entry.choices:
        return [float(trial.params[entry.name]) for trial in trials]
    # side by side around the tick, so that equal choices do not hide each other
    return [entry.choices.index(_value(trial, entry)) + 0.3 * math.sin(2.4 * trial.number) for trial in trials]


def _value(trial: FrozenTrial, entry: Entry) -> Value:
    value: Value = trial.params[entry.name]
    return value


def _clip(axes: Axes, groups: Mapping[str, Sequence[FrozenTrial]]) -> None:
    """Leave out of sight what lies far below the rest only if it was pruned."""
    values = [float(trial.value or 0.0) for kind, trials in groups.items() if kind != "pruned" for trial in trials]
    if len(set(values)) > 1:
        room = 0.08 * (max(values) - min(values))
        axes.set_ylim(min(values) - room, max(values) + room)
