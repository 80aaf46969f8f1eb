"""What a search leaves: a table of all trials, the best one as an experiment, Optuna's figures."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import optuna
from hydra.core.global_hydra import GlobalHydra
from matplotlib import pyplot
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots

from cvae.files import replacing
from cvae.runs.tune_space import Search

#: attributes of a trial
FIRST, OVERRIDES, ERROR = "present_settings", "overrides", "error"
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
            print(f"present settings: {described(trial)}")
    print(f"again: python train.py {shlex.join(overrides)}")
    print(f"to keep: cp {path}/best.yaml conf/experiment/NAME.yaml; python train.py experiment=NAME")


def draw(study: optuna.Study, search: Search, path: Path) -> None:
    """Save Optuna's figures of a study as PNG."""
    matplotlib.use("Agg")
    # Optuna changes the style of all figures, and warns about few trials
    with pyplot.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        most = list(optuna.importance.get_param_importances(study))[:SHOWN]
        figures = {
            "history": plots.plot_optimization_history(study, target_name=search.metric),
            "importance": plots.plot_param_importances(study),
            "slice": plots.plot_slice(study, most, target_name=search.metric),
        }
        for name, axes in figures.items():
            figure = np.ravel(np.asarray(axes))[0].figure
            with replacing(path / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=100, bbox_inches="tight")
            pyplot.close(figure)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The best trial that keeps all constraints; None if there is none yet."""
    try:
        return study.best_trial
    except ValueError:
        return None


def described(trial: FrozenTrial) -> str:
    """How a trial ended, in one line."""
    value = "" if trial.value is None else f" {trial.value:.4g}"
    missed = [f"{name} by {violation:.2g}" for name, violation in trial.constraints.items() if violation > 0]
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
