from __future__ import annotations

from .conftest import word

TINY = word(["trainer.max_epochs=10", "data.train=64", "data.validation=16", "data.test=40", "callbacks.figures=null"])


def test_seeds_are_trained_and_summed_up(run_benchmark):
    done = run_benchmark("mixtures", "separations=[3]", "seeds=[0,1]", "out=kept", TINY)
    assert done.status == 0, done.err
    assert [row["seed"] for row in done.table] == ["0", "1", "right, largest"]
    first, second, last = done.table
    right = sum(row["clusters_samples"] == row["components"] for row in (first, second))
    assert last["clusters_samples"] == f"{right} of 2"
    assert float(last["outside"]) == max(float(first["outside"]), float(second["outside"]))


def test_a_wrong_option_is_one_message(run_benchmark):
    done = run_benchmark("mixtures", "separations=4")
    assert done.status == 1
    assert "separations is 4; it must be a list of numbers." in done.err
