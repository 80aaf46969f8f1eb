"""The search: what is refused before its first trial, and studies of tiny trials that fail, are killed and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from optuna.trial import TrialState

import cvae.config  # noqa: F401 - registers the resolvers that the configs use
from cvae.errors import UserError
from cvae.runs.launch import run
from cvae.runs.tune import open_storage, tune
from cvae.runs.tune_report import ERROR, FIRST, OVERRIDES, experiment
from cvae.runs.tune_space import UNMEASURED, read_search, read_space

ROOT = Path(__file__).resolve().parents[2]
SEARCHES = {
    "default": "data=product",
    "separate": "data=two_birds",
    "vectors": "data=sine_wave",
    "digits": "experiment=digits",
    "mixture": "experiment=mixture",
    "light_curves": "experiment=light_curves",
    "sea_temperature": "experiment=sea_temperature",
    "swiss_roll": "experiment=swiss_roll",
}
PRESENT = {
    "default": {"model": "film", "optimizer.lr": 2e-3, "loss.wy": 2e-3},
    "separate": {"model": "mixture", "optimizer.lr": 3e-3, "loss.wy": 7e-4},
    "vectors": {"model": "branches", "optimizer.lr": 2e-3, "model.components": 64},
    "digits": {"model": "dense_image", "optimizer.lr": 1e-3, "model.latent_dim": 16},
    "mixture": {"model.components": 16, "optimizer.lr": 2e-3, "data.batch_size": 512},
    "light_curves": {"optimizer.lr": 4e-3, "loss.wx": 150.0},
    "sea_temperature": {"model.latent_dim": 6, "data.year_noise": 3.0},
    "swiss_roll": {"optimizer.lr": 2e-3, "loss.restarts": 1e-2, "loss.decay": 1e-3},
}
TINY = [
    "data.source.train=64", "data.source.validation=16", "data.evaluation.validation=4",
    "data.evaluation.references=2", "generation.draws=5", "trainer.max_epochs=2", "logger.tensorboard=null",
]  # fmt: skip
SPACE = {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}, "model.latent_dim": {"low": 2, "high": 5}}
MODEL = {"choices": ["dense", "deep"]}
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@pytest.fixture(autouse=True)
def hydra_on_conf(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CVAE_CACHE", str(cache_folder))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Any]:
    """The config ``tune`` with tiny trials: ``config("trials=3", space={...}, overrides=[...])``."""

    def make(*words: str, space: Any = None, overrides: Any = (), constraints: Any = None) -> Any:
        cfg = compose("tune", ["study=s", f"out={tmp_path}", "interval=1", *words])
        cfg.overrides = [*TINY, *overrides]
        cfg.search.space = SPACE if space is None else space
        cfg.search.constraints = constraints or {"val/pearson": {"at_least": "${data.gates.pearson}"}}
        return cfg

    return make


@pytest.fixture
def searched(config: Callable[..., Any]) -> Callable[..., optuna.Study]:
    return lambda *words, **settings: tune(config(*words, **settings), "default")


def study_in(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder}/study.db")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "search.space is empty"),
        ({"lr": {"low": 1e-2, "high": 1e-3}}, "search.space.lr is .*low=0.01.*high=0.001"),
        ({"lr": {"low": 0.0, "high": 1.0, "log": True}}, "search.space.lr is .*positive|search.space.lr is .*> 0"),
        ({"lr": {"low": "small", "high": 1.0}}, "search.space.lr is .*'small'"),
        ({"lr": {"low": 1e-3}}, "search.space.lr is .*needs either choices, or low and high"),
        ({"lr": {"low": 0.1, "high": 1.0, "lgo": True}}, "'lgo': True}; it must have some of choices, default"),
        ({"model": {"choices": []}}, "search.space.model is "),
        ({"model": MODEL | {"low": 1, "high": 2}}, "needs either choices, or low and high"),
        ({"d": {"low": 1, "high": 2, "when": {"model": "deep"}}, "model": MODEL}, "d.when is .*further above"),
        ({"model": MODEL, "d": {"low": 1, "high": 2, "when": {"model": "huge"}}}, "d.when is .*huge"),
    ],
)
def test_entries_that_make_no_sense_are_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_space(space)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": {"optimizer.lrr": {"low": 0.1, "high": 1.0}}}, r"search.space: Could not override"),
        ({"space": {"model": {"choices": ["dense", "huge"]}}}, r"search.space: .*Could not find 'model/huge'"),
        (
            {"space": {"optimizer.lr": {"low": 0.1, "high": 1.0}}},
            r"lacks the present setting of optimizer.lr, 0.002",
        ),
        ({"overrides": ["optimizer.lr=1"]}, r"optimizer.lr is searched .* set by overrides"),
        ({"overrides": ["optimized_metric=val/rmse"]}, r"overrides holds optimized_metric"),
        ({"overrides": ["trainer.max_epoch=3"]}, r"overrides: Could not override 'trainer.max_epoch'"),
        ({"constraints": {"val/rmse": {"below": 0.1}}}, r"constraints.val/rmse is \{'below': 0.1\}; it must be"),
    ],
)
def test_what_would_make_trials_fail_is_refused_before_the_first(
    config: Callable[..., Any], settings: dict[str, Any], message: str
) -> None:
    cfg = config(**settings)
    with pytest.raises(UserError, match=rf"(?s){message}"):
        read_search(cfg.search, list(cfg.overrides))


@pytest.mark.parametrize("word", ["trials=-1", "checkpoints=some", "seed=-1", "interval=0.5"])
def test_options_that_make_no_sense_are_refused(searched: Callable[..., Any], word: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="{} is {}".format(*word.split("=")).replace("some", "'some'")):
        searched(word)
    assert not (tmp_path / "s").exists()


def test_an_entry_is_proposed_only_where_it_applies() -> None:
    space = read_space(
        {
            "model": MODEL,
            "lr": {"low": 1e-4, "high": 1e-2, "log": True, "when": {"model": "dense"}},
            "lr of deep": {"override": "lr", "low": 1, "high": 3, "when": {"model": ["deep"]}},
            "switched off": None,
        }
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(20):
        trial, values = study.ask(), {}
        for entry in space:
            if entry.applies(values):
                values[entry.name] = entry.suggest(trial)
        seen.add((values["model"], *sorted(values)))
        assert values.get("lr of deep", 1) in (1, 2, 3)
        assert 1e-4 <= values.get("lr", 1e-3) <= 1e-2
    assert seen == {("dense", "lr", "model"), ("deep", "lr of deep", "model")}


def test_a_violation_is_a_share_of_a_bound_that_may_come_from_the_training_config(config: Callable[..., Any]) -> None:
    bounds = {"val/rmse": {"at_most": "${data.gates.rmse}"}, "val/valid": {"at_least": 0.9}, "val/kl": None}
    cfg = config(constraints=bounds, overrides=["data.gates.rmse=0.1"])
    search = read_search(cfg.search, list(cfg.overrides))
    rmse, valid = search.violations({"val/rmse": 0.12, "val/valid": 0.95}).values()
    assert rmse == pytest.approx(0.2)
    assert valid < 0
    assert list(search.violations({"val/rmse": float("nan")}).values()) == [UNMEASURED, UNMEASURED]


@pytest.mark.parametrize("name", SEARCHES)
def test_the_first_trial_of_a_shipped_search_has_the_present_settings(name: str) -> None:
    assert {path.stem for path in (ROOT / "conf" / "search").glob("*.yaml")} == set(SEARCHES)
    search = read_search(compose("tune", [f"search={name}"]).search, [SEARCHES[name]])
    assert search.first.items() >= PRESENT[name].items()


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=two_birds", "data.forward=['x0 * x1', 'sin(3*x0)']", "model=deep", "model/head=values",
         "optimizer=sgd", "optimizer.lr=1e-05", "loss.wy=null", "+trainer.accumulate_grad_batches=2", "threads=1"],
        ["experiment=digits", "model=conv", "optimizer.lr=1e-05"],
    ],
)  # fmt: skip
def test_an_experiment_file_does_what_the_overrides_do(tmp_path: Path, overrides: list[str]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "best.yaml").write_text(f"# @package _global_\n{experiment(overrides)}")
    by_file = compose("train", ["experiment=best", f"hydra.searchpath=[file://{tmp_path}]"])
    assert OmegaConf.to_container(by_file) == OmegaConf.to_container(compose("train", overrides))


def test_a_study_leaves_trials_tables_figures_and_grows(searched: Callable[..., optuna.Study], tmp_path: Path) -> None:
    searched("trials=2")
    study = searched("trials=3")
    trials = study.get_trials()
    assert [trial.state in ENDED for trial in trials] == [True] * 3
    assert [FIRST in trial.user_attrs for trial in trials] == [True, False, False]
    folder = tmp_path / "s"
    assert {path.name for path in folder.iterdir()} >= {
        "study.db", "trials", "trials.csv", "history.png", "importance.png", "slice.png", "best.yaml",
    }  # fmt: skip
    assert len((folder / "trials.csv").read_text().splitlines()) == 4
    best = study.best_trial
    assert [path.parent.name for path in folder.glob("trials/*/checkpoints")] == [str(best.number)]
    result = json.loads((folder / "trials" / str(best.number) / "result.json").read_text())
    assert result["measures"]["val/coverage"] == best.value == max(trial.value for trial in trials)
    assert result["overrides"] == best.user_attrs[OVERRIDES]
    # and the file of the best one runs again to the same value
    (tmp_path / "experiment").mkdir()
    (folder / "best.yaml").rename(tmp_path / "experiment" / "best.yaml")
    run(compose("train", ["experiment=best", f"hydra.searchpath=[file://{tmp_path}]"]), tmp_path / "again")
    again = json.loads((tmp_path / "again" / "result.json").read_text())
    assert again["measures"]["val/coverage"] == best.value
    assert len(best.intermediate_values) == 2


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (["search.metric=val/valid"], {}, "search.metric was 'val/coverage' and is 'val/valid'"),
        ([], {"space": {"optimizer.lr": SPACE["optimizer.lr"]}}, "space.model.latent_dim.low was 2 and is None"),
        ([], {"overrides": ["data.source.train=65"]}, "data.source.train was 64 and is 65"),
    ],
)
def test_a_study_about_something_else_is_not_continued(
    searched: Callable[..., optuna.Study], words: list[str], settings: dict[str, Any], message: str
) -> None:
    searched("trials=0")
    with pytest.raises(UserError, match=message):
        searched("trials=1", *words, **settings)


def test_a_mistake_in_the_first_trial_ends_the_search_and_leaves_the_name_free(
    searched: Callable[..., optuna.Study],
) -> None:
    with pytest.raises(UserError, match=r"has 'val/luck', which is not measured \(val/"):
        searched("trials=1", "search.metric=val/luck")
    assert len(searched("trials=1").trials) == 1


def test_a_mistake_removes_no_trial_that_has_trained(
    searched: Callable[..., optuna.Study], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def trained(cfg: Any, run_dir: Path, *arguments: Any, **named: Any) -> float:
        (run_dir / "checkpoints").mkdir(parents=True)
        (run_dir / "checkpoints" / "last.ckpt").write_bytes(b"of an epoch")
        raise UserError("no such device")

    monkeypatch.setattr("cvae.runs.tune.run", trained)
    with pytest.raises(UserError, match="no such device"):
        searched("trials=1")
    assert len(study_in(tmp_path / "s").trials) == 1
    assert list((tmp_path / "s" / "trials").rglob("last.ckpt"))


def test_a_later_trial_that_fails_is_recorded_and_the_search_goes_on(
    searched: Callable[..., optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched("trials=1")

    def broken(*arguments: Any, **named: Any) -> float:
        raise RuntimeError("no such device")

    monkeypatch.setattr("cvae.runs.tune.run", broken)
    trials = searched("trials=3").get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED]
    assert trials[2].user_attrs[ERROR] == "RuntimeError: no such device"
    assert trials[2].constraints == {"val/pearson at_least 0.9": UNMEASURED}


def test_a_trial_that_diverges_is_pruned_also_the_first(searched: Callable[..., optuna.Study], tmp_path: Path) -> None:
    trials = searched(
        "trials=1",
        overrides=["loss.beta=1e308"],
        space={"model.latent_dim": {"low": 2, "high": 5}},
    )
    (trial,) = trials.get_trials()
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs[ERROR].startswith("the training diverged: not finite in step 1 of epoch 1: loss.")
    record = json.loads((tmp_path / "s" / "trials" / "0" / "result.json").read_text())
    assert record["status"] == "diverged"


def test_a_stopped_trial_is_queued_again_and_goes_on_in_its_folder(
    searched: Callable[..., optuna.Study], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(*arguments: Any, **named: Any) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cvae.runs.tune.run", stopped)
        with pytest.raises(SystemExit, match="stopped in trial 0"):
            searched("trials=1")
    first, again = searched("trials=1").get_trials()
    assert (first.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert first.params == again.params
    assert [path.name for path in (tmp_path / "s" / "trials").iterdir()] == ["0"]


def test_a_study_of_an_earlier_version_is_refused(searched: Callable[..., optuna.Study], tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.log").touch()
    with pytest.raises(UserError, match="holds a study of an earlier version"):
        searched("trials=1")


def test_a_study_that_is_no_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvae.runs.tune.time.sleep", lambda seconds: None)
    (tmp_path / "study.db").write_bytes(b"no database" * 99)
    with pytest.raises(UserError, match=rf"{tmp_path}/study\.db cannot be opened: .*name another study, study="):
        open_storage(tmp_path, None, 30)
    (tmp_path / "study.db").unlink()
    os.mkfifo(tmp_path / "study.db")
    with pytest.raises(UserError, match=r"study\.db: is no plain file"):
        open_storage(tmp_path, None, 30)
    (tmp_path / "study.db").unlink()
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "1").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"trials/1: is no plain file or folder of a study; remove it"):
        open_storage(tmp_path, None, 30)


def test_a_queued_trial_is_begun_once_however_many_ask_at_the_same_moment(tmp_path: Path) -> None:
    studies = [optuna.create_study(study_name="s", storage=open_storage(tmp_path, None, 30), load_if_exists=True)
               for _ in range(4)]  # fmt: skip
    for number in range(60):
        studies[0].enqueue_trial({"a": number})
    together = threading.Barrier(len(studies))

    def ask(study: optuna.Study) -> list[int]:
        found = []
        for _ in range(15):
            together.wait()
            found.append(study.ask().number)
        return found

    with ThreadPoolExecutor(len(studies)) as pool:
        numbers = [number for found in pool.map(ask, studies) for number in found]
    assert sorted(numbers) == list(range(60))


def start(folder: Path, *words: str, train: int, epochs: int) -> subprocess.Popen[str]:
    """``scripts/tune.py`` on the study ``s`` in ``folder``."""
    fixed = [*TINY[1:-2], f"data.source.train={train}", f"trainer.max_epochs={epochs}", TINY[-1]]
    command = [sys.executable, "scripts/tune.py", f"out={folder}", "study=s", f"overrides={fixed}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, *words], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_a_killed_trial_is_taken_up_again_in_its_folder(tmp_path: Path) -> None:
    killed = start(tmp_path, "trials=2", "interval=1", train=4000, epochs=4)
    last = tmp_path / "s" / "trials" / "0" / "checkpoints" / "last.ckpt"
    for _ in range(6000):
        if last.is_file():
            break
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = start(tmp_path, "trials=2", "interval=1", train=4000, epochs=4)
    out, _ = done.communicate(timeout=300)
    assert done.returncode == 0, out
    trials = study_in(tmp_path / "s").get_trials()
    assert [trial.state in ENDED for trial in trials].count(True) == 2, out
    assert trials[0].state == TrialState.FAIL
    (again,) = [trial for trial in trials[1:] if trial.params == trials[0].params]
    assert list(again.intermediate_values) == [1, 2, 3, 4]
    result = json.loads((last.parents[1] / "result.json").read_text())
    assert result["resumed"]
    assert result["measures"]["val/coverage"] == again.value


@pytest.mark.slow
def test_two_processes_together_do_as_many_trials_as_wanted(tmp_path: Path) -> None:
    both = [start(tmp_path, "trials=4", train=64, epochs=1) for _ in range(2)]
    outs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    trials = study_in(tmp_path / "s").get_trials(states=ENDED)
    assert len(trials) == 4
    assert len({json.dumps(trial.params) for trial in trials}) == 4
