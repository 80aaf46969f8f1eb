"""Runs read from their folders, averaged over seeds, and written as tables, a CSV file and a figure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cvae.errors import UserError
from cvae.runs import compare_figure
from cvae.runs.compare import fold, print_tables, read_runs, summarize, write_csv
from cvae.runs.locks import locked

Make = Callable[..., Path]
PRODUCT = {"forward": ["x0 * x1"], "gates": {"rmse": 0.05}, "range": [0.0, 1.0]}
SINE = {"forward": ["sin(5*x0)", "cos(8*x1)"], "gates": {"rmse": 0.1}, "range": [0.0, 1.0]}
SCORES = {1: 0.2, 2: 0.25, 3: 0.4}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes the record of a run: ``make("model=deep,seed=1", {"val/score": 0.5}, data=PRODUCT)``.

    The parts of the name are the overrides, those that start with "model" or "seed" stand in the config too.
    """

    def write(name: str, measures: dict[str, float | None] | None, **config: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        overrides = folder.name.split(",")
        chosen = dict(override.split("=") for override in overrides)
        seed = int(chosen.get("seed", 0))
        data = {"seed": seed, **config.pop("data", PRODUCT)}
        model = {"width": len(chosen.get("model", ""))}
        settings = {"optimized_metric": "val/score", "seed": seed, "data": data, "model": model, **config}
        record: dict[str, Any] = {"status": "running", "overrides": overrides, "config": settings}
        if measures is not None:
            record |= {"status": "finished", "measures": measures, "duration_s": 61.0}
        (folder / "result.json").write_text(json.dumps(record))
        return tmp_path

    return write


@pytest.fixture
def sweep(make: Make, tmp_path: Path) -> Path:
    """Two problems, two models and three seeds; one run has failed."""
    for problem, data in (("product", PRODUCT), ("sine", SINE)):
        for model, factor in (("dense", 1.0), ("deep", 2.0)):
            for seed, score in SCORES.items():
                name = f"data={problem},model={model},seed={seed}"
                make(name, {"val/score": factor * score, "val/rmse": factor, "test/kl": 1 / 3}, data=data)
    path = tmp_path / "data=sine,model=deep,seed=3" / "result.json"
    record = json.loads(path.read_text())
    del record["measures"]
    path.write_text(json.dumps(record | {"status": "failed", "error": "the loss is nan [step 3]\nmore"}))
    return tmp_path


def printed(folder: Path, capsys: pytest.CaptureFixture[str], width: int | None = None, **options: Any) -> str:
    runs = read_runs(folder)
    print_tables(runs, summarize(runs, **options), "a [title]", width)
    return capsys.readouterr().out


def test_measures_are_averaged_over_seeds(sweep: Path) -> None:
    product, _ = summarize(read_runs(sweep))
    scores = np.array(list(SCORES.values()))
    np.testing.assert_allclose(product.mean["val/score"], [2 * scores.mean(), scores.mean()])
    np.testing.assert_allclose(product.std["val/score"], [2 * scores.std(ddof=1), scores.std(ddof=1)])
    assert list(product.groups["seeds"]) == [3, 3]
    assert list(product.groups["run"]) == ["data=product,model=deep", "data=product,model=dense"]


def test_each_problem_has_its_groups_and_shows_what_differs_between_them(sweep: Path) -> None:
    product, sine = summarize(read_runs(sweep))
    assert product.problem == "x0 * x1, gates.rmse 0.05"
    assert sine.problem == "sin(5*x0), cos(8*x1), gates.rmse 0.1"
    assert [list(summary.settings) for summary in (product, sine)] == [["model"], ["model"]]
    assert list(sine.settings["model"]) == ["deep", "dense"]
    # the failed run is not part of the mean
    assert list(sine.groups["seeds"]) == [2, 3]


def test_gates_or_bounds_alone_make_another_problem(make: Make, tmp_path: Path) -> None:
    make("seed=1", {"val/score": 0.1})
    make("seed=2", {"val/score": 0.1}, data=PRODUCT | {"gates": {"rmse": 0.2}})
    make("seed=3", {"val/score": 0.1}, data={"forward": ["x0 * x1"], "bounds": [[0, 1], [0, 2]]})
    # a run that failed before it had a config is no problem of its own
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "result.json").write_text('{"status": "failed", "error": "e", "overrides": ["seed=4"]}')
    problems = {summary.problem for summary in summarize(read_runs(tmp_path))}
    assert problems == {
        "x0 * x1, gates.rmse 0.05, range [0.0, 1.0]",
        "x0 * x1, gates.rmse 0.2, range [0.0, 1.0]",
        "x0 * x1, bounds [[0, 1], [0, 2]]",
    }


def test_data_without_a_forward_function_are_named_by_their_class(make: Make) -> None:
    folder = make("seed=1", {"val/loss": 0.1}, data={"_target_": "cvae.data.Digits"}, optimized_metric="val/loss")
    make("seed=2", {"val/loss": 0.1}, data={"forward": {"_target_": "mine.f", "scale": 1}})
    make("seed=3", {"val/loss": 0.1}, data={"forward": {"_target_": "mine.f", "scale": 2}})
    problems = {summary.problem for summary in summarize(read_runs(folder))}
    assert problems == {"Digits", "mine.f, forward.scale 1", "mine.f, forward.scale 2"}


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(make: Make) -> None:
    folder = make("seed=1", {"val/score": 0.1}, data=PRODUCT | {"seed": 7})
    make("seed=2", {"val/score": 0.2}, data=PRODUCT | {"seed": 8})
    make("seed=3", {"val/score": 0.4}, data=PRODUCT | {"seed": 8})
    (summary,) = summarize(read_runs(folder))
    assert list(summary.groups["seeds"]) == [2, 1]
    assert list(summary.groups["run"]) == ["default", "seed=1"]
    assert summary.std["val/score"].isna().tolist() == [False, True]


def test_a_mean_needs_a_number_of_every_seed(make: Make) -> None:
    folder = make("seed=1", {"val/score": 0.9})
    make("seed=2", {"val/score": None})
    make("model=deep", {"val/score": 0.1})
    (summary,) = summarize(read_runs(folder))
    assert list(summary.groups["run"]) == ["model=deep", "default"]
    assert summary.mean["val/score"].isna().tolist() == [False, True]


def test_the_same_run_in_two_folders_counts_once(make: Make) -> None:
    for name in ("first/seed=1", "second/seed=1", "second/seed=2"):
        folder = make(name, {"val/score": float(name[-1])})
    (summary,) = summarize(read_runs(folder))
    assert (summary.groups["seeds"].item(), summary.mean["val/score"].item()) == (2, 1.5)


def test_groups_are_sorted_by_the_measure_and_its_direction(make: Make) -> None:
    for name, value in (("a", 0.1), ("b", 0.3), ("c", 0.2)):
        folder = make(f"model={'x' * ord(name)}", {"val/own": value, "val/rmse": value},
                      optimized_metric="val/own", optimized_mode="min")  # fmt: skip
    (own,) = summarize(read_runs(folder))
    assert own.mean["val/own"].tolist() == [0.1, 0.2, 0.3]
    assert own.order == "best first: val/own, lower is better"
    (rmse,) = summarize(read_runs(folder), metrics=["val/own"], sort="val/rmse")
    assert list(rmse.mean) == ["val/rmse", "val/own"]
    assert rmse.order == "best first: val/rmse, lower is better"


def test_runs_without_overrides_show_what_differs_in_their_configs(make: Make) -> None:
    folder = make("x=1", {"val/score": 0.1}, loss={"beta": 1})
    make("x=2", {"val/score": 0.2}, loss={"beta": 2})
    for path in folder.rglob("result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"overrides": []}))
    (summary,) = summarize(read_runs(folder))
    assert summary.settings["loss.beta"].tolist() == ["2", "1"]
    assert list(summary.settings) == ["loss.beta"]


def test_a_setting_that_a_run_does_not_override_shows_its_default(make: Make) -> None:
    folder = make("model=deep,loss.beta=2", {"val/score": 0.1}, loss={"beta": 2})
    make("trainer=gpu", {"val/score": 0.2}, loss={"beta": 0.5})
    (summary,) = summarize(read_runs(folder))
    shown = summary.settings.to_dict("list")
    assert (shown["model"], shown["loss.beta"]) == (["(default)", "deep"], ["0.5", "2"])


def test_an_unknown_measure_lists_the_known_ones(sweep: Path) -> None:
    runs = read_runs(sweep)
    with pytest.raises(UserError, match=r"sort names 'val/luck', .*there are test/kl, val/rmse, val/score\."):
        summarize(runs, sort="val/luck")
    with pytest.raises(UserError, match="metrics names 'luck'"):
        summarize(runs, metrics=["val/score", "luck"])


def test_a_missing_folder_and_one_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="none, which is no folder"):
        read_runs(tmp_path / "none")
    assert printed(tmp_path, capsys) == "a [title]: no runs.\n"
    assert list(read_runs(tmp_path).about["status"]) == []


def test_damaged_records_are_left_out_with_a_warning(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make("seed=1", {"val/score": 0.5})
    for name, text in (("b", "{"), ("c", "[]"), ("d", "{}"), ("e", '{"status": "finished", "measures": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text)
    assert list(read_runs(tmp_path).about.index) == ["seed=1"]
    assert caplog.text.count("left out, since it is no record of a run") == 4


def test_runs_that_have_not_finished_are_listed(make: Make, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("seed=8", None)
    make("seed=9", None)
    with locked(sweep / "seed=9"):
        out = printed(sweep, capsys).splitlines()
    assert out[-3:] == [
        "data=sine,model=deep,seed=3  failed: the loss is nan [step 3]",
        "seed=8  interrupted",
        "seed=9  running",
    ]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_table_is_as_wide_as_the_terminal_and_names_what_is_left_out(
    sweep: Path, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    metrics = ["val/score", "val/rmse", "test/kl"]
    out = printed(sweep, capsys, width, metrics=metrics)
    assert max(map(len, out.splitlines())) <= width
    # no cell is cut
    assert "…" not in out
    assert "0.2833 ± 0.1" in out
    header = next(line for line in out.splitlines() if "seeds" in line)
    hidden = {name for name in [*metrics, "time"] if name not in header}
    assert ("no room for" in out) == bool(hidden)
    assert (width == 140) == (not hidden)


def test_a_long_name_is_broken_after_its_commas() -> None:
    name = "data.source.train=20000,loss=mse,model=dense,trainer.max_epochs=4"
    assert fold(name, 30).replace("\n", "") == name
    assert fold(name, 30).splitlines()[0] == "data.source.train=20000,"


def test_the_file_holds_every_run_measure_and_setting_in_full(sweep: Path) -> None:
    write_csv(read_runs(sweep), sweep / "out.csv")
    table = pd.read_csv(sweep / "out.csv").set_index("run")
    assert len(table) == 12
    first, failed = table.loc["data=product,model=dense,seed=1"], table.loc["data=sine,model=deep,seed=3"]
    assert (first["val/score"], first["test/kl"], first["seed"]) == (0.2, 1 / 3, 1)
    assert (first["model"], first["model.width"], first["data.gates.rmse"]) == ("dense", 5, 0.05)
    assert (failed["status"], failed["error"]) == ("failed", "the loss is nan [step 3]")
    assert np.isnan(failed["val/score"])
    assert table.groupby("group").size().tolist() == [3] * 4
    assert table.columns.is_unique


def test_the_figure_shows_each_run_as_a_point_and_names_the_groups(sweep: Path) -> None:
    figure = compare_figure.draw(summarize(read_runs(sweep), metrics=["val/score", "val/rmse"]))
    points = [[np.shape(axes.collections[0].get_offsets())[0] for axes in part.axes] for part in figure.subfigs]
    assert points == [[6, 6], [5, 5]]
    labels = [label.get_text() for label in figure.subfigs[0].axes[0].get_yticklabels()]
    assert labels == ["data=product,model=deep", "data=product,model=dense"]


def test_the_figure_shows_no_more_groups_than_fit(make: Make) -> None:
    for number in range(compare_figure.MOST_GROUPS + 5):
        folder = make(f"model={'x' * (number + 1)}", {"val/score": float(number)})
    figure = compare_figure.draw(summarize(read_runs(folder)))
    assert np.shape(figure.subfigs[0].axes[0].collections[0].get_offsets())[0] == compare_figure.MOST_GROUPS
    assert "the best 20 of 25" in figure.subfigs[0].get_suptitle()


def test_nothing_to_draw_and_an_unknown_kind_of_figure_are_errors(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to draw"):
        compare_figure.draw(summarize(read_runs(make("seed=1", None))))
    make("seed=2", {"val/score": 0.1})
    with pytest.raises(UserError, match=r"x\.doc; its ending must be one of .*png"):
        compare_figure.save(summarize(read_runs(tmp_path)), tmp_path / "x.doc")
    assert not (tmp_path / "x.doc").exists()


def test_the_command_needs_no_torch(sweep: Path) -> None:
    code = f"import runpy, sys; sys.argv = ['scripts/compare.py', 'dir={sweep}']\n"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    code += "assert not {'torch', 'lightning'} & set(sys.modules), 'slow imports'"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (sweep / "comparison.csv").is_file()
    assert (sweep / "comparison.png").read_bytes().startswith(b"\x89PNG")
