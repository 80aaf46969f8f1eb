"""The calls for Python."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from torch.utils.data import TensorDataset

import cvae
from cvae.errors import MissingFileError, UserError
from cvae.runs.compose import compose, words_of
from cvae.runs.folder import FolderTakenError

SMALL = {
    "data.source.train": 64,
    "data.source.validation": 16,
    "data.source.test": 16,
    "data.batch_size": 32,
    "data.evaluation": {"validation": 4, "test": 4, "references": 0},
    "generation.draws": 5,
    "trainer.max_epochs": 1,
    "callbacks.figures": None,
    "recipe.separate": False,
    "recipe.y_term": True,
}
T = np.linspace(0, 1, 50)
Y = (0.9 - 0.5 * T) * (0.2 + 0.6 * T)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> cvae.Run:
    return cvae.fit(SMALL, folder=tmp_path_factory.mktemp("api") / "run")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_training_is_quiet_and_gives_model_measures_and_folder(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = cvae.fit({"data": "vector", "data.bounds": [[0, 1]], "data.forward": ["x0 * x0"], **SMALL})
    assert capfd.readouterr() == ("", "")
    assert run.folder.parent == Path("outputs", "train")
    assert run.folder.is_dir()
    assert run.config["data"]["forward"] == ["x0 * x0"]
    assert {"val/score", "test/valid"} <= set(run.measures)
    assert run.model.draw(torch.rand(3, 1), 4, torch.Generator()).shape == (3, 4, 1)


def test_a_training_tells_what_it_does_when_asked(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    levels = logging.getLogger("cvae").level, len(logging.getLogger("cvae").handlers)
    cvae.fit([*words_of(SMALL), "recipe.separate=auto", "model=dense", "model.hidden=[8]"], verbose=True)
    out = capfd.readouterr().out
    assert "val/score" in out or "score" in out
    assert "checkpoint:" in out
    assert levels == (logging.getLogger("cvae").level, len(logging.getLogger("cvae").handlers))


def test_a_run_is_loaded_as_it_was(trained: cvae.Run) -> None:
    loaded = cvae.Run.load(trained.folder)
    assert loaded == trained
    y = torch.rand(2, 1, 50)
    first, second = (run.model.draw(y, 3, torch.Generator().manual_seed(0)) for run in (trained, loaded))
    assert torch.equal(first, second)


def test_a_finished_run_is_not_repeated_and_another_not_overwritten(trained: cvae.Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*") if path.is_file()}
    assert cvae.fit(SMALL, folder=trained.folder) == trained
    assert before == {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*") if path.is_file()}
    with pytest.raises(FolderTakenError, match="seed is 0 there and 1 here"):
        cvae.fit(SMALL | {"seed": 1}, folder=trained.folder)


def test_a_function_is_an_operator_and_the_model_may_use_it(work: Path) -> None:
    (work / "api_functions.py").write_text("def cube(x):\n    return x[..., :1] ** 3\n")
    from api_functions import cube  # type: ignore[import-not-found]

    run = cvae.fit({"data": "vector", "data.bounds": [[0, 1]], "data.forward": cube, **SMALL}, folder="mine")
    assert run.config["data"]["forward"] == {"_target_": "api_functions.cube"}
    assert torch.equal(run.model.problem.forward(torch.tensor([0.5])), torch.tensor([0.125]))
    with pytest.raises(UserError, match=r"asks for 'api_functions\.cube'"):
        cvae.Run.load("mine").model  # noqa: B018
    again = cvae.Run.load("mine", allow=["api_functions.cube"])
    assert again.model.problem.config == run.model.problem.config


@pytest.mark.parametrize("y", [Y, list(Y), torch.from_numpy(Y), Y[None], Y[:, None], Y[None, None].astype("float32")])
def test_a_single_curve_may_have_any_natural_shape(trained: cvae.Run, y: Any) -> None:
    found = cvae.generate(trained, y, draws=7, seed=3)
    assert found.x.shape == (1, 7, 2, 50)
    x = found.x.numpy()
    misfit = np.sqrt(((x[:, :, 0] * x[:, :, 1] - Y) ** 2).mean(-1))
    assert found.check.misfit.numpy() == pytest.approx(misfit, abs=1e-5)
    assert torch.equal(found.x, cvae.generate(trained.model, Y, draws=7, seed=3).x)


def test_a_table_of_positions_and_a_curve_is_one_condition(trained: cvae.Run, work: Path) -> None:
    np.savetxt(work / "y.csv", np.stack([T, Y], 1), delimiter=",")
    for y in (np.stack([T, Y], 1), "y.csv"):
        found = cvae.generate(trained, y, draws=2, seed=3)
        assert torch.equal(found.x, cvae.generate(trained, Y, draws=2, seed=3).x)
    with pytest.raises(UserError, match="positions, or a curve"):
        cvae.generate(trained, np.stack([1950 + 0.5 * T, Y], 1))


def test_solutions_are_refined_scored_and_drawn(trained: cvae.Run, work: Path) -> None:
    y = np.stack([Y, Y[::-1] * 0.5])
    found = cvae.generate(trained, y, draws=4, candidates=20, refine_steps=15)
    assert list(found.stages) == ["draw", "refine", "select"]
    assert found.stages["select"].valid > 0.9
    figures = cvae.plot(trained, y, found)
    assert all(isinstance(figure, Figure) for figure in figures.values())
    # the same from arrays, for the problem by any of its names, and from a file
    scores = [cvae.score(found.x.numpy(), y, data=data) for data in (trained, "product", trained.model.problem)]
    torch.save(TensorDataset(found.x.flatten(0, 1), torch.tensor(y).repeat_interleave(4, 0)), work / "x.pt")
    scores.append(cvae.score("x.pt", data={"data": "lines", "data.forward": ["x0 * x1"]}, draws=4))
    valid = float(found.check.valid.float().mean())
    assert [(one.measures["valid"], one.conditions) for one in scores] == [(pytest.approx(valid), 2)] * 4
    assert cvae.score(found.x[0], y[0]).draws == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: cvae.generate(run, Y[:49]), r"y has shape \(49,\); expected one of"),
        (lambda run: cvae.generate(run, np.full(50, np.nan)), "y holds values that are not finite"),
        (lambda run: cvae.generate(run, Y, draws=0), "generation.draws is 0"),
        (lambda run: cvae.generate(run, Y, generation="complte"), "Could not find 'generation/complte'"),
        (lambda run: cvae.generate(run, Y, candidate=3), "Could not override 'generation.candidate'"),
        (
            lambda run: cvae.score(np.zeros((1, 3, 2, 49)), Y),
            r"x has shape \(1, 3, 2, 49\); expected \(1, draws, 2",
        ),
        (lambda run: cvae.score(np.zeros((3, 2, 50))), "y is missing"),
        (lambda run: cvae.score("x.pt", data="digits"), "data has no forward operator"),
        (lambda run: cvae.fit({"seed": -1}), "seed is -1"),
        (lambda run: cvae.fit({"run_dir": "mine"}), r"run_dir is mine, .*with folder=\.\.\."),
        (lambda run: cvae.fit("data=product"), "overrides is 'data=product'; it must be a list of texts or a mapping"),
        (
            lambda run: cvae.fit({"data": "lines", "data.forward": lambda x: x}),
            "data.forward is .*<lambda>, which",
        ),
        (lambda run: cvae.fit(None), "overrides is None; it must be a list of texts or a mapping"),
        (lambda run: cvae.fit([3]), r"overrides is \[3\]; it must be a list of texts or a mapping"),
        (lambda run: cvae.fit(SMALL, callbacks=[3]), "callbacks holds 3; it must be a list of Lightning's callbacks"),
        (lambda run: cvae.generate(run, "y.csv"), r"y\.csv: no such file"),
        (lambda run: cvae.fit({"seed": np.zeros(2)}), "seed is a ndarray; it must be"),
    ],
)
def test_mistakes_are_told(trained: cvae.Run, work: Path, call: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(trained)
    assert not any(work.iterdir())


def test_a_folder_without_a_finished_run_is_refused(work: Path) -> None:
    with pytest.raises(MissingFileError, match="holds no run"):
        cvae.Run.load(work)
    (work / "result.json").write_text('{"status": "failed"}')
    with pytest.raises(UserError, match="holds a run that is failed, not finished"):
        cvae.Run.load(work)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{}", "holds a run that is None, not finished"),
        ('{"status": "finished"}', r"its result\.json is damaged \(KeyError: 'measures'\)"),
        ('{"status": "finished", "measures": [], "config": {}, "checkpoint": null}', "is damaged"),
        ('{"status": "finished", "measures": {}, "config": {}, "checkpoint": "/etc/passwd"}', "which lies elsewhere"),
        ('{"status": "finished", "measures": {}, "config": {}, "checkpoint": "../.."}', "which lies elsewhere"),
    ],
)
def test_a_damaged_record_is_told(work: Path, record: str, message: str) -> None:
    (work / "result.json").write_text(record)
    with pytest.raises(UserError, match=message):
        cvae.Run.load(work)


def test_a_callback_that_cannot_be_made_is_told(work: Path) -> None:
    with pytest.raises(UserError, match=r"callbacks\.stop: `mode` can be min, max"):
        cvae.fit(SMALL | {"callbacks": "early_stopping", "callbacks.stop.mode": "nope"}, folder="run")


def test_measures_that_are_no_numbers_are_nan(work: Path) -> None:
    record = '{"status": "finished", "measures": {"val/score": null}, "config": {}, "checkpoint": null}'
    (work / "result.json").write_text(record)
    run = cvae.Run.load(work)
    assert math.isnan(run.measures["val/score"])
    with pytest.raises(UserError, match="this run kept no checkpoint"):
        run.model  # noqa: B018


# --- configs


@pytest.mark.parametrize(
    "value",
    [
        "it's a 'quote'", 'a "double" one', "back\\slash", "ends with \\", "a, b: [c] {d} = e", " spaces ", "", "null",
        "3", "true", "True", "nan", "Inf", "ä",
        "a/b.c-d", "_x", 0, -3, 0.5, 1e-9, True, None, [1, "a b", None], {"a": {"b": [1.5, "x: y"]}}, (), float("inf"),
    ],
)  # fmt: skip
def test_python_values_arrive_as_they_are(value: Any) -> None:
    cfg = compose("train", words_of({"+mine": value}))
    found = OmegaConf.to_container(OmegaConf.create({"mine": cfg.mine}))["mine"]  # type: ignore[index, call-overload]
    assert found == (list(value) if isinstance(value, tuple) else value)
    assert type(found) is (list if isinstance(value, tuple) else type(value))


def test_groups_numpy_numbers_and_paths_are_understood(tmp_path: Path) -> None:
    cfg = compose("train", words_of({"model": "deep", "seed": np.int64(7), "data.cache": tmp_path}))
    assert (cfg.model._target_, cfg.seed, cfg.data.cache) == ("cvae.networks.deep", 7, str(tmp_path))


@pytest.fixture
def hydra_running(tmp_path: Path) -> Iterator[Any]:
    """Another application of Hydra that runs in this process."""
    (tmp_path / "other.yaml").write_text("mine: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.1"):
        yield GlobalHydra.instance().hydra


def test_chosen_members_are_known_by_name(hydra_running: Any) -> None:
    words = words_of({"data": "two_birds", "model": "deep", "init_from": "/a/b-c.ckpt"})
    assert words == ["data=two_birds", "model=deep", "init_from=/a/b-c.ckpt"]
    cfg = compose("train", words)
    assert cfg.choices == {"data": "two_birds", "model": "deep", "loss": "mse", "optimizer": "muon"}
    assert "hydra" not in cfg


def test_an_application_of_hydra_that_runs_is_left_alone(hydra_running: Any) -> None:
    for _ in range(2):
        assert compose("train", ["seed=3"]).seed == 3
        assert GlobalHydra.instance().hydra is hydra_running
        with pytest.raises(UserError, match="Could not override 'sed'"):
            compose("train", ["sed=3"])
        assert hydra_compose("other").mine == 1
    from hydra.version import getbase

    assert str(getbase()) == "1.1"


def test_configs_of_ones_own_are_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text('defaults: [lines, _self_]\nforward: ["x0 - x1"]\n')
    cfg = compose("train", words_of({"hydra.searchpath": [f"file://{tmp_path}"], "data": "mine"}))
    assert cfg.data.forward == ["x0 - x1"]
