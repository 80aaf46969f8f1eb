import pytest

from .conftest import TINY, word


def test_methods_stand_side_by_side(run_benchmark, tmp_path):
    words = ("methods=[default,rejection,multistart]", "conditions=2", "candidates=[40]", "out=kept")
    done = run_benchmark(
        "methods",
        "problem=sine_wave",
        *words,
        word([*TINY, "data.source.train=100", "model=dense", "model.hidden=[16]", "loss.set_objective.weight=0"]),
    )
    assert done.status == 0, done.err
    names, plans = ("default", "rejection", "multistart"), ("30 plain", "30 of 120, unchecked", "30 of 40, refined")
    assert [(row["name"], row["plan"]) for row in done.table] == [(name, plan) for name in names for plan in plans]
    # rejection may spend what the default's training spends: 100 simulations, and half as many for the y-term, which
    # comes in after half of the training
    assert [row["training_evaluations"] for row in done.table[::3]] == ["150", "150", "0"]
    assert [path.name for path in (tmp_path / "work" / "kept").iterdir()] == ["sine_wave-default-0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["methods=[magic]"], "methods holds 'magic'; choose from starter, default, npe, rejection, multistart."),
        (["npe.simulations=many"], "npe.simulations is 'many'; it must be a whole number"),
        (["problem=sine_wave", "methods=[starter]"], "model=starter is made for lines"),
    ],
)
def test_a_wrong_option_is_one_message(run_benchmark, words, message):
    done = run_benchmark("methods", *words, "conditions=2", word(TINY))
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err
