from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose
from results import mean

from cvae.runs.settle import task_of

from .conftest import ROOT, TINY, word

SMALL = word([*TINY, "model=dense", "model.hidden=[16]"])
TABLES = sorted((ROOT / "conf" / "table").glob("*.yaml"))


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_rows_are_trained_once_measured_and_printed(run_benchmark, tmp_path):
    words = ("table=options_separate", "only=[default]", "conditions=3", "seeds=[3]", "out=kept", "table.title=a title")
    done = run_benchmark("results", *words, SMALL)
    assert done.status == 0, done.err
    (folder,) = (tmp_path / "work" / "kept").iterdir()
    assert folder.name.startswith("default-3-")
    assert "a title" in done.out
    plans = yaml.safe_load((ROOT / "conf" / "table" / "options_separate.yaml").read_text())["plans"]
    assert [(row["name"], row["plan"]) for row in done.table] == [("default (seed 3)", plan) for plan in plans]
    assert {"mode_recall", "mode_recall_pooled"} < done.table[0].keys()
    assert "coverage_ratio" not in done.table[0]
    # many refined draws come nearer than those of a model of one epoch
    assert float(done.table[-1]["rmse"]) < float(done.table[0]["rmse"])
    assert done.out.splitlines()[-1].startswith("3 unseen conditions")

    before = files(folder)
    again = run_benchmark("results", *words, SMALL)
    assert files(folder) == before
    assert [row | {"generate_s": ""} for row in again.table] == [row | {"generate_s": ""} for row in done.table]


def test_vectors_have_rows_too(run_benchmark):
    words = ("only=[separate points]", "plans=['30 of 300',complete]", "conditions=3", "out=kept", SMALL)
    done = run_benchmark("results", "table=vectors", *words)
    assert done.status == 0, done.err
    assert [row["plan"] for row in done.table] == ["30 of 300", "complete"]
    assert float(done.table[-1]["mode_recall_pooled"]) == 1
    assert "pearson" not in done.table[0]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("only=[products]", "only names ['products'], but the table has the rows ['starter', 'default']."),
        ("plans=[best]", "plans names ['best'], but the table has the plans "),
        ("only=[]", "only names nothing, but the table has the rows "),
        ("seeds=3", "seeds is 3; it must be a list"),
        ("+table.plans.plain.count=3", "table.plans.plain.count"),
    ],
)
def test_a_wrong_option_is_one_message(run_benchmark, word, message):
    done = run_benchmark("results", word)
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("path", TABLES, ids=[path.stem for path in TABLES])
def test_rows_of_the_shipped_tables_are_configs(path, composing):
    table = yaml.safe_load(path.read_text())
    # of rows that change the same entries, the last
    kinds = {tuple(entry.partition("=")[0] for entry in overrides): overrides for overrides in table["rows"].values()}
    for overrides in kinds.values():
        task_of(compose("train", overrides).data)


def test_the_mean_over_seeds_leaves_out_what_one_of_them_lacks():
    rows = [{"name": f"a (seed {n})", "plan": "plain", "valid": n, "rmse": 2 * n, "score": n or None} for n in (3, 0)]
    assert mean("a", rows) == {"name": "a", "plan": "plain", "valid": 1.5, "rmse": 3.0}
