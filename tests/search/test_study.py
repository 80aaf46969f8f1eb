"""Searches of tiny trials: what they leave, and what happens when trials or processes fail."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hydra import compose
from optuna.trial import FrozenTrial, TrialState, create_trial

from cvae.runs.launch import run
from cvae.search.alive import ERROR
from cvae.search.definition import DIVERGED
from cvae.search.storage import open_storage
from cvae.search.study import Limits, best, ranked, search
from cvae.search.trial import MEASURES, run_trial

Search = Callable[..., Path]


def study_in(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=open_storage(folder, None))


def values(folder: Path) -> list[dict[str, Any]]:
    return [trial.params for trial in study_in(folder).get_trials()]


@pytest.fixture(scope="module")
def rows() -> Callable[[Path], list[dict[str, str]]]:
    return lambda folder: list(csv.DictReader((folder / "trials.csv").open()))


def test_a_search_leaves_trials_tables_pictures_and_a_best_that_runs_again_to_the_same_value(
    search_in: Search, rows: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = search_in("trials=8")
    study = study_in(folder)
    assert {path.name for path in folder.iterdir()} == {
        "study.log", "trials", "trials.csv", "history.png", "importance.png", "slice.png", "best.yaml", "best.txt",
    }  # fmt: skip
    table = rows(folder)
    assert [int(row["number"]) for row in table] == list(range(8))
    assert [row["default"] for row in table] == ["True"] + ["False"] * 7
    assert len({row["set:optimizer.lr"] for row in table}) == 8
    first = best(study)
    assert first is not None
    assert first.number == study.best_trial.number
    feasible = [float(row["value"]) for row in table if row["feasible"] == "True"]
    assert first.value == max(feasible)
    # checkpoints of the best alone are kept
    assert [path.parent.name for path in folder.glob("trials/*/checkpoints")] == [str(first.number)]
    assert f"best trial reaches {first.value:.4g}" in capsys.readouterr().out

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "tuned.yaml").write_text((folder / "best.yaml").read_text())
    cfg = compose("train", ["experiment=tuned", f"hydra.searchpath=[file://{tmp_path}]"])
    run(cfg, tmp_path / "again")
    again = json.loads((tmp_path / "again" / "result.json").read_text())["measures"]
    assert again["val/coverage"] == first.value
    assert {name: again[name] for name in first.user_attrs[MEASURES]} == first.user_attrs[MEASURES]
    assert yaml.safe_load((folder / "best.yaml").read_text())["trainer"] == {"max_epochs": 2}


def test_a_search_that_goes_on_proposes_what_one_in_a_single_go_does(search_in: Search, tmp_path: Path) -> None:
    whole = values(search_in("trials=4", "search.sampler.n_startup_trials=2"))
    parts = [f"out={tmp_path}/parts", "search.sampler.n_startup_trials=2"]
    for trials in (2, 4):
        search_in(f"trials={trials}", *parts)
    assert values(tmp_path / "parts" / "s") == whole
    search_in("trials=2", f"out={tmp_path}/other", "seed=1")
    assert values(tmp_path / "other" / "s")[1] != whole[1]


def test_nothing_more_is_done_where_the_study_has_its_trials(search_in: Search) -> None:
    folder = search_in("trials=1")
    before = (folder / "study.log").read_bytes()
    search_in("trials=1")
    assert (folder / "study.log").read_bytes() == before


def test_a_study_with_other_settings_is_left_as_it_is(search_in: Search) -> None:
    folder = search_in("trials=1")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lr = {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    with pytest.raises(ValueError, match=r"begun with other settings.*space.optimizer.*Nothing was changed"):
        search_in("trials=2", space=lr)
    with pytest.raises(ValueError, match=r"overrides: .*data.source.train=64.*data.source.train: 64 then, 65 now"):
        search_in("trials=2", overrides=("data.source.train=65",))
    with pytest.raises(ValueError, match=r"metric: 'max val/coverage' then, 'max val/valid' now"):
        search_in("trials=2", "search.metric=val/valid")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_trials_of_another_study_are_not_written_over(search_in: Search) -> None:
    folder = search_in("trials=1")
    (folder / "study.log").unlink()
    with pytest.raises(ValueError, match="holds trials of another study"):
        search_in("trials=1")


def test_a_database_keeps_a_study_as_well(search_in: Search, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    search_in("trials=1", f"storage={url}")
    folder = search_in("trials=2", f"storage={url}")
    assert not (folder / "study.log").exists()
    assert len(optuna.load_study(study_name="s", storage=url).trials) == 2


def test_a_database_that_is_not_there_is_told_without_its_password(search_in: Search) -> None:
    with pytest.raises(ValueError, match=r"storage cannot be opened \(sqlite\): unable to open") as told:
        search_in("trials=1", "storage=sqlite:////no/such/secret/studies.db")
    assert "secret" not in str(told.value)


def test_a_trial_that_fails_or_diverges_is_recorded_and_the_search_goes_on(
    defined: Callable[..., Any], tmp_path: Path
) -> None:
    space = {"loss.wx": {"low": -1.0, "high": 1.0}, "optimizer.lr": {"low": 1e-3, "high": 1e30}}
    definition = defined(space=space)
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(direction="maximize", storage=storage)
    for wx, lr in ((-1.0, 1e-3), (1.0, 1e30), (1.0, 1e-3)):
        study.enqueue_trial({"loss.wx": wx, "optimizer.lr": lr})
    told: list[str] = []
    search(study, storage, definition, tmp_path, Limits(3, None, 30.0, "none"), told.append)
    failed, diverged, complete = study.get_trials()
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs[ERROR].startswith("loss.wx is -1.0")
    assert diverged.state == TrialState.PRUNED
    assert diverged.user_attrs[ERROR].startswith("diverged: val/loss is nan")
    assert set(diverged.constraints.values()) == {DIVERGED}
    assert complete.state == TrialState.COMPLETE
    assert told[0].startswith("trial 0: fail (loss.wx is -1.0; it must be")
    assert len(told) == 3
    assert not list(tmp_path.glob("trials/*/checkpoints"))


def test_a_search_of_which_all_trials_fail_ends(search_in: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **named: Any) -> float:
        raise RuntimeError("no such device")

    monkeypatch.setattr("cvae.search.trial.run", broken)
    with pytest.raises(ValueError, match=r"the first 5 trials failed; the last: RuntimeError: no such device"):
        search_in("trials=20")


def test_a_hopeless_trial_is_given_up_early(defined: Callable[..., Any], tmp_path: Path) -> None:
    class Hopeless(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            return trial.last_step == 1

    definition = defined(overrides=("trainer.max_epochs=3",))
    study = optuna.create_study(direction="maximize", pruner=Hopeless())
    study.enqueue_trial(definition.first)
    trial = study.ask()
    state, value = run_trial(trial, definition, tmp_path / "0")
    assert (state, value) == (TrialState.PRUNED, None)
    found = study.get_trials()[0]
    assert list(found.intermediate_values) == [1]
    assert set(found.constraints) == {"val/pearson >= 0.9"}
    assert found.user_attrs[MEASURES]["val/coverage"] == found.intermediate_values[1]


def test_each_epoch_is_reported_and_the_last_never_given_up(defined: Callable[..., Any], tmp_path: Path) -> None:
    class Always(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            return trial.last_step == 2

    study = optuna.create_study(direction="maximize", pruner=Always())
    definition = defined()
    study.enqueue_trial(definition.first)
    state, value = run_trial(study.ask(), definition, tmp_path / "0")
    assert state == TrialState.COMPLETE
    reported = study.get_trials()[0].intermediate_values
    assert list(reported) == [1, 2]
    assert value in reported.values()


def test_the_best_keeps_the_constraints_however_good_others_are() -> None:
    study = optuna.create_study(direction="maximize")
    for value, violation in ((0.9, 0.1), (0.2, -0.1), (0.3, 0.0), (0.8, 0.01)):
        study.add_trial(create_trial(value=value, constraints={"c": violation}))
    assert [trial.value for trial in ranked(study)] == [0.3, 0.2, 0.8, 0.9]
    assert best(study).value == study.best_trial.value == 0.3
    only = optuna.create_study(direction="minimize")
    only.add_trial(create_trial(value=0.1, constraints={"c": 1.0}))
    assert best(only) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": -1}, "trials is -1"),
        ({"trials": 1.5}, "trials is 1.5"),
        ({"timeout": 0}, "timeout is 0"),
        ({"interval": None}, "interval is None"),
        ({"checkpoints": "some"}, "checkpoints is 'some'; it must be best, all or none"),
    ],
)
def test_limits_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**{"trials": 1, "timeout": None, "interval": 30.0, "checkpoints": "best", **settings})


def test_no_trial_starts_when_time_is_over(search_in: Search, rows: Any) -> None:
    folder = search_in("trials=50", "timeout=0.1")
    assert [row["state"] for row in rows(folder)] == ["complete"]
