"""What a search leaves: a table of all trials, the best one as an experiment, pictures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import matplotlib
import numpy as np
import optuna
from hydra.core.global_hydra import GlobalHydra
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots

from cvae.command_lines import command
from cvae.files import replacing
from cvae.runs.tune_space import Search
from cvae.tasks.figures import BLUE, ORANGE, new_figure

#: attributes of a trial
FIRST, OVERRIDES, ERROR = "present_settings", "overrides", "error"
#: kinds of trials, and their marks
PRUNED, MISSED, KEPT = "given up or failed", "misses a constraint", "keeps the constraints"
MARKS = {PRUNED: ("x", "0.6"), MISSED: ("v", ORANGE), KEPT: ("o", BLUE)}
#: hyperparameters in the slice plot, the most important ones
SHOWN = 6


def report(study: optuna.Study, search: Search, path: Path) -> None:
    """Write ``trials.csv``, figures and ``best.yaml`` to the study's folder, and print the best trial."""
    table = study.trials_dataframe(attrs=("number", "state", "value", "duration", "params", "user_attrs"))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    with replacing(path / "trials.csv") as temporary:
        table.to_csv(temporary, index=False)
    if len(complete) > 1:
        draw(study, search, path)
        print(f"trials.csv and figures are in {path}")
    else:
        print(f"trials.csv is in {path}; figures take two complete trials")
    best = best_trial(study)
    if best is None:
        print(f"no complete trial keeps the constraints on {' and '.join(search.constraints)}, so that there is no "
              "best.yaml: search longer, or loosen search.constraints")  # fmt: skip
        return
    overrides = best.user_attrs[OVERRIDES]
    told = f"{search.metric} {best.value!r} in trial {best.number} of study {study.study_name}"
    with replacing(path / "best.yaml") as temporary:
        temporary.write_text(f"# @package _global_\n# {told}\n{experiment(overrides)}")
    print(f"best: {told}")
    for trial in complete:
        if FIRST in trial.user_attrs:
            print(f"{named_first(trial, search)}: {described(trial)}")
    print(f"again: {command('train', overrides)}")
    print(f"to keep: cp {path}/best.yaml conf/experiment/NAME.yaml; {command('train', ['experiment=NAME'])}")


def draw(study: optuna.Study, search: Search, path: Path) -> None:
    """Save pictures of a study as PNG: how it went, which values matter, the measure over those that matter most."""
    matplotlib.use("Agg")
    # Optuna changes the style of all figures, and warns about few trials
    with pyplot.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        most = list(optuna.importance.get_param_importances(study))[:SHOWN]
        importance = cast(Figure, plots.plot_param_importances(study).figure)
    figures = {"history": history_figure(study, search), "importance": importance}
    for name, figure in (figures | {"slice": slice_figure(study, search, most)}).items():
        with replacing(path / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=100, bbox_inches="tight")
    pyplot.close(importance)


def history_figure(study: optuna.Study, search: Search) -> Figure:
    """The measure of each trial by its number, and the best so far."""
    figure = new_figure(8.0, 4.0)
    axis = figure.subplots()
    _trials(axis, study, search, lambda trial: trial.number)
    good = [trial for trial in study.get_trials(deepcopy=False) if _kind(trial) == KEPT]
    if good:
        best = np.maximum if search.mode == "max" else np.minimum
        values = best.accumulate(np.array([trial.value for trial in good], dtype=float))
        axis.step([trial.number for trial in good], values, where="post", color=BLUE, linewidth=1, label="best so far")
    axis.set(xlabel="trial", ylabel=search.metric)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=7)
    axis.set_title(f"{search.metric} of each trial ({better(search)} is better)", fontsize=9)
    return figure


def slice_figure(study: optuna.Study, search: Search, names: Sequence[str]) -> Figure:
    """A panel for each of the hyperparameters ``names``: the measure of each trial over its value, or its choice."""
    columns = min(len(names), 3)
    figure = new_figure(3.6 * max(columns, 1), 2.8 * math.ceil(len(names) / 3) + 0.8)
    of = {entry.name: entry.distribution for entry in search.space}
    for number, name in enumerate(names):
        axis = figure.add_subplot(math.ceil(len(names) / 3), columns, number + 1)
        choices = [str(choice) for choice in getattr(of[name], "choices", ())]

        def place(trial: FrozenTrial, name: str = name, choices: Sequence[str] = choices) -> float | None:
            value = trial.params.get(name)
            return value if value is None or not choices else choices.index(str(value))

        _trials(axis, study, search, place)
        if choices:
            axis.set_xticks(range(len(choices)), choices)
            axis.set_xlim(-0.5, len(choices) - 0.5)
        elif getattr(of[name], "log", False):
            axis.set_xscale("log")
        axis.set_xlabel(name, fontsize=8)
        axis.tick_params(labelsize=7)
        if number % columns == 0:
            axis.set_ylabel(search.metric, fontsize=8)
    figure.suptitle(
        f"{search.metric} of each trial over the values that matter most ({better(search)} is better)", fontsize=9
    )
    marks = [axis.get_legend_handles_labels() for axis in figure.axes]
    legend = {label: handle for handles, labels in marks for handle, label in zip(handles, labels, strict=True)}
    if legend:
        figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=4, fontsize=7)
    return figure


def _trials(axis: Axes, study: optuna.Study, search: Search, place: Callable[[FrozenTrial], float | None]) -> None:
    """A mark for each trial that was measured, at its ``place``."""
    points = {trial.number: (place(trial), _value(trial)) for trial in study.get_trials(deepcopy=False)}
    shown = [trial for trial in study.get_trials(deepcopy=False) if None not in points[trial.number]]
    for kind, (marker, color) in MARKS.items():
        of_kind = [trial for trial in shown if _kind(trial) == kind and FIRST not in trial.user_attrs]
        x, y = np.array([points[trial.number] for trial in of_kind], dtype=float).reshape(-1, 2).T
        axis.scatter(x, y, marker=marker, c=color, s=18, alpha=0.7, linewidths=1, label=kind)
    for trial in (trial for trial in shown if FIRST in trial.user_attrs):
        x, y = np.array(points[trial.number], dtype=float)
        axis.scatter(x, y, marker="*", c="black", s=90, zorder=3, label=named_first(trial, search))


def better(search: Search) -> str:
    """Which way the measure of a search is better, ``higher`` or ``lower``."""
    return "higher" if search.mode == "max" else "lower"


def named_first(trial: FrozenTrial, search: Search) -> str:
    """What the settings of the first trial are: those of the config as it is, or as it was when the study began."""
    return "present settings" if trial.params == search.first else "settings at the start of the study"


def _kind(trial: FrozenTrial) -> str:
    if trial.state != TrialState.COMPLETE:
        return PRUNED
    return MISSED if any(violation > 0 for violation in trial.constraints.values()) else KEPT


def _value(trial: FrozenTrial) -> float | None:
    """The measure of a trial; of one that was given up, the last that it reported."""
    if trial.value is not None:
        return trial.value
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The best trial that keeps all constraints; None if there is none yet."""
    try:
        return study.best_trial
    except ValueError:
        return None


def described(trial: FrozenTrial) -> str:
    """How a trial ended, in one line."""
    value = "" if trial.value is None else f" {trial.value:.4g}"
    missed = [f"{name} by {violation:.2g} of it" for name, violation in trial.constraints.items() if violation > 0]
    error = trial.user_attrs.get(ERROR)
    note = f" ({error})" if error else f" (misses {', '.join(missed)})" if missed else ""
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    return f"trial {trial.number}: {trial.state.name.lower()}{value}{note}, {seconds:.0f} s"


def experiment(overrides: Sequence[str]) -> str:
    """The content of a file for ``conf/experiment`` that does what the overrides do."""
    is_group = GlobalHydra.instance().config_loader().get_group_options
    words = [word.lstrip("+") for word in overrides]
    groups = dict(word.split("=", 1) for word in words if is_group(word.split("=")[0]))
    values = OmegaConf.from_dotlist([word for word in words if word.split("=")[0] not in groups])
    base = groups.pop("experiment", None)
    entries = ([] if base is None else [base]) + [{f"override /{name}": member} for name, member in groups.items()]
    return OmegaConf.to_yaml(OmegaConf.merge({"defaults": entries} if entries else {}, values))
