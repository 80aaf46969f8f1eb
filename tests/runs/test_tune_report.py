"""Pictures of a search, drawn from a study whose trials cost nothing."""

import optuna
import pytest

from cvae.runs.tune_report import FIRST, history_figure, named_first, slice_figure
from cvae.runs.tune_space import Search, read_space

SPACE = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "model": {"choices": ["dense", "deep"]},
    "model.latent_dim": {"low": 1, "high": 6},
}
FIRST_VALUES = {"optimizer.lr": 1e-3, "model": "dense", "model.latent_dim": 2}


def search(first):
    return Search("val/coverage", "max", "val/score", {}, read_space(SPACE), [], "product", first, {})


@pytest.fixture(scope="module")
def study():
    """Twelve trials: the first has settled values, every fourth is given up, every third misses a constraint."""
    made, space = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)), search({})
    made.enqueue_trial(FIRST_VALUES, user_attrs={FIRST: True})

    def objective(trial):
        value = sum(entry.suggest(trial) in ("deep", 3) for entry in space.space) + 0.01 * trial.number
        trial.set_constraint("val/valid at_least 0.98", 1.0 if trial.number % 3 == 1 else -1.0)
        trial.report(value, 1)
        if trial.number % 4 == 3:
            raise optuna.TrialPruned
        return value

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made.optimize(objective, n_trials=12)
    return made


def test_choices_stand_in_one_place_each(study):
    figure = slice_figure(study, search(FIRST_VALUES), ["model", "optimizer.lr", "model.latent_dim"])
    choice, rate, _ = figure.axes
    assert [tick.get_text() for tick in choice.get_xticklabels()] == ["dense", "deep"]
    places = [x for marks in choice.collections for x, _ in marks.get_offsets()]
    assert sorted(places) == sorted(["dense", "deep"].index(trial.params["model"]) for trial in study.trials)
    assert rate.get_xscale() == "log"
    assert [axis.get_xlabel() for axis in figure.axes] == ["model", "optimizer.lr", "model.latent_dim"]
    assert "val/coverage of each trial" in figure.get_suptitle()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][-1] == "present settings"


def test_the_history_tells_kinds_of_trials_and_the_best_so_far(study):
    (axis,) = history_figure(study, search(FIRST_VALUES)).axes
    counts = {marks.get_label(): len(marks.get_offsets()) for marks in axis.collections}
    assert counts == {
        "given up or failed": 3, "misses a constraint": 3, "keeps the constraints": 5, "present settings": 1,
    }  # fmt: skip
    (line,) = axis.lines
    kept = [trial.value for trial in study.trials if trial.number % 4 != 3 and trial.number % 3 != 1]
    assert list(line.get_ydata()) == [max(kept[: number + 1]) for number in range(len(kept))]


def test_settings_that_were_changed_since_are_not_called_present(study):
    first = study.trials[0]
    assert named_first(first, search(FIRST_VALUES)) == "present settings"
    changed = search(FIRST_VALUES | {"optimizer.lr": 2e-3})
    assert named_first(first, changed) == "settings at the start of the study"
    labels = [marks.get_label() for marks in history_figure(study, changed).axes[0].collections]
    assert "settings at the start of the study" in labels


def test_a_study_without_a_kept_trial_is_drawn(tmp_path):
    empty = optuna.create_study(direction="maximize")
    history_figure(empty, search(FIRST_VALUES)).savefig(tmp_path / "history.png", dpi=30)
    slice_figure(empty, search(FIRST_VALUES), []).savefig(tmp_path / "slice.png", dpi=30)
