"""Runs read from their folders, sorted, and written as a table, a file and a picture."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from cvae.comparison import print_table, read_runs, tabulate, write_csv
from cvae.comparison.figure import draw, save
from cvae.comparison.records import parse_overrides
from cvae.comparison.scales import scale_of
from cvae.runs.locks import locked

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the record of a run: ``make("a", {"val/score": 0.5}, "model=deep")``."""

    def write(name: str, measures: dict[str, float | None] | None, *overrides: str, **entries: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        config = {"optimized_metric": "val/score", "optimized_mode": "max", "seed": 0} | entries.pop("config", {})
        record: dict[str, Any] = {"status": "running", "overrides": list(overrides), "config": config}
        if measures is not None:
            finished = {"status": "finished", "measures": measures, "duration_s": 1.5}
            record |= finished | {"optimized_metric": config["optimized_metric"]}
        (folder / "result.json").write_text(json.dumps(record | entries))
        return tmp_path

    return write


def names(comparison: Any) -> list[str]:
    return [run.name for run in comparison.runs]


def test_runs_are_sorted_by_what_they_optimise_best_first(make: Make, tmp_path: Path) -> None:
    for name, score in (("a", 0.1), ("b", 0.3), ("c", None), ("d", 0.2)):
        make(name, {"val/score": score, "val/rmse": score})
    make("sub/e", {"val/score": 0.25})
    assert names(tabulate(read_runs(tmp_path))) == ["b", "sub/e", "d", "a", "c"]
    # an error is better when low; who has none comes last
    assert names(tabulate(read_runs(tmp_path), sort="val/rmse")) == ["a", "d", "b", "c", "sub/e"]


def test_what_is_minimised_is_better_when_low(make: Make, tmp_path: Path) -> None:
    for name, value in (("a", 0.1), ("b", 0.3), ("c", 0.2)):
        make(name, {"val/own": value}, config={"optimized_metric": "val/own", "optimized_mode": "min"})
    comparison = tabulate(read_runs(tmp_path))
    assert names(comparison) == ["a", "c", "b"]
    assert comparison.measures == ["val/own"]


def test_settings_that_differ_are_those_that_were_swept(make: Make, tmp_path: Path) -> None:
    make("a", {"val/score": 0.1}, "model=deep", "trainer.max_epochs=5", "seed=1", config={"model": {"depth": 8}})
    make("b", {"val/score": 0.2}, "model=dense", "trainer.max_epochs=5", "seed=2", config={"model": {"depth": 2}})
    comparison = tabulate(read_runs(tmp_path))
    assert comparison.settings == ["model", "seed"]
    assert [comparison.setting(run, "seed") for run in comparison.runs] == [2, 1]


def test_a_setting_that_one_run_leaves_as_it_is_shows_its_default(make: Make, tmp_path: Path) -> None:
    make("a", {"val/score": 0.1}, "loss.beta=2", "model=deep", config={"loss": {"beta": 2}})
    make("b", {"val/score": 0.2}, config={"loss": {"beta": 0.5}})
    make("c", {"val/score": 0.3}, "+loss.beta=5e-1", "~callbacks.last", config={"loss": {"beta": 0.5}})
    comparison = tabulate(read_runs(tmp_path))
    assert comparison.settings == ["callbacks.last", "loss.beta", "model"]
    shown = [[comparison.setting(run, name) for name in comparison.settings] for run in comparison.runs]
    assert shown == [["~", 0.5, "(default)"], ["(default)", 0.5, "(default)"], ["(default)", 2, "deep"]]


def test_runs_without_overrides_are_told_apart_by_their_configs(make: Make, tmp_path: Path) -> None:
    make("a", {"val/score": 0.1}, config={"loss": {"beta": 2}, "run_dir": "a", "data": {"cache": "x", "n": 1}})
    make("b", {"val/score": 0.2}, config={"loss": {"beta": 1}, "run_dir": "b", "data": {"cache": "y", "n": 1}})
    assert tabulate(read_runs(tmp_path)).settings == ["loss.beta"]


def test_overrides_are_split_at_the_first_sign() -> None:
    parsed = parse_overrides(["a.b=c=d", "+x=1e-3", "++y=07", "~z", "data.forward=['x0 * x1']", "empty="])
    assert parsed == {"a.b": "c=d", "x": 0.001, "y": 7, "z": "~", "data.forward": "['x0 * x1']", "empty": ""}


def test_each_status_is_told(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("done", {"val/score": 0.5}, "seed=1")
    make("broken", None, "seed=2", status="failed", error="the disk is full\nmore")
    make("cut", None, "seed=3")
    make("on", None, "seed=4")
    with locked(tmp_path / "on"):
        comparison = tabulate(read_runs(tmp_path))
    assert {run.name: run.status for run in comparison.runs} == {
        "done": "finished", "broken": "failed", "cut": "interrupted", "on": "running",
    }  # fmt: skip
    print_table(comparison, "a [title]")
    out = capsys.readouterr().out
    assert "failed: the disk is full" in out
    assert "a [title]" in out
    assert "more" not in out


def test_what_is_no_record_is_left_out_and_said(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make("a", {"val/score": 0.5})
    for name, text in (("b", "{"), ("c", "[]"), ("d", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text)
    assert [run.name for run in read_runs(tmp_path)] == ["a"]
    assert caplog.text.count("left out, since it is no record of a run") == 3


def test_an_unknown_measure_lists_the_known_ones(make: Make, tmp_path: Path) -> None:
    found = read_runs(make("a", {"val/score": 0.5, "val/rmse": 0.1}))
    with pytest.raises(ValueError, match=r"sort names 'val/luck', .*there are val/rmse, val/score\."):
        tabulate(found, sort="val/luck")
    with pytest.raises(ValueError, match=r"metrics names 'luck'"):
        tabulate(found, metrics=["val/score", "luck"])


def test_the_file_holds_every_measure_in_full(make: Make, tmp_path: Path) -> None:
    make("a", {"val/score": 1 / 3, "test/kl": 2.0}, "model=deep")
    make("b", {"val/score": None}, "model=[1,2]")
    write_csv(tabulate(read_runs(tmp_path)), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["run"], first["model"], first["status"]) == ("a", "deep", "finished")
    assert float(first["val/score"]) == 1 / 3
    assert (first["test/kl"], second["test/kl"], second["model"]) == ("2.0", "", "[1,2]")
    assert second["val/score"] == "nan"


# --- the picture


def test_a_scale_lays_out_numbers_by_size_and_names_by_name() -> None:
    linear, wide, words = scale_of([3, 1, 2]), scale_of([1e-4, 1.0, 1e-2]), scale_of(["b", True, "a", 2])
    np.testing.assert_allclose(linear.places, [3, 1, 2])
    np.testing.assert_allclose(wide.places, [-4, 0, -2])
    assert wide.labels == ["0.0001", "0.01", "1"]
    assert (words.ordered, words.labels) == (False, ["True", "2", "a", "b"])
    assert words.places.tolist() == [3, 0, 2, 1]


def test_runs_with_one_value_are_moved_apart_but_not_to_the_next() -> None:
    scale = scale_of(["a"] * 50 + ["b"] * 50)
    moved = scale.spread()
    assert len(set(moved.tolist())) == 100
    assert np.abs(moved - scale.places).max() < 0.1


def offsets(figure: Figure) -> list[int]:
    """How many runs each panel shows."""
    return [len(axes.collections[0].get_offsets()) for part in figure.subfigs[:1] for axes in part.axes]


def test_the_picture_has_a_panel_for_each_measure_and_setting(make: Make, tmp_path: Path) -> None:
    for index, model in enumerate(("deep", "dense", "deep")):
        make(str(index), {"val/score": 0.1 * index, "val/valid": 0.5}, f"model={model}", f"loss.beta={10.0**-index}")
    make("failed", None, "model=deep", "loss.beta=1", status="failed", error="x")
    figure = draw(tabulate(read_runs(tmp_path)), "title")
    assert offsets(figure) == [3] * 4
    # two settings, so parallel coordinates: a line for each run
    assert len(figure.subfigs[1].axes[0].patches) == 3
    texts = {text.get_text() for text in figure.subfigs[1].axes[0].texts}
    assert {"model", "loss.beta", "val/score", "val/valid", "deep", "dense"} <= texts


def test_one_setting_needs_no_parallel_coordinates(make: Make, tmp_path: Path) -> None:
    for index in range(3):
        make(str(index), {"val/score": 0.1 * index}, f"seed={index}")
    figure = draw(tabulate(read_runs(tmp_path)))
    assert len(figure.subfigs) == 1
    assert offsets(figure) == [3]


def test_a_single_run_is_drawn_too(make: Make, tmp_path: Path) -> None:
    save(tabulate(read_runs(make("a", {"val/score": 0.1}))), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw_and_an_unknown_kind_of_picture_are_errors(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(tabulate(read_runs(make("a", None))))
    with pytest.raises(ValueError, match=r"x\.doc; its ending must be one of .*png"):
        save(tabulate(read_runs(make("b", {"val/score": 0.1}))), tmp_path / "x.doc")
    assert not (tmp_path / "x.doc").exists()


def test_the_command_needs_no_torch(make: Make, tmp_path: Path) -> None:
    folder = make("a", {"val/score": 0.1})
    code = f"import runpy, sys; sys.argv = ['scripts/compare.py', 'dir={folder}']\n"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    code += "assert not {'torch', 'lightning'} & set(sys.modules), 'slow imports'"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "comparison.csv").is_file()
    assert (tmp_path / "comparison.png").is_file()
