"""What is said of the gate before a run: the numbers, and the warnings that fire and stay silent."""

import re

import pytest
import yaml

from cvae.runs.gates import auto_gate, described, warnings
from cvae.tasks.spread import prior_conditions
from tests.conftest import ROOT


def told(problem):
    return warnings(problem, prior_conditions(problem))


@pytest.mark.parametrize(
    ("forward", "rmse", "words"),
    [
        ("0.05*x0*x1", 0.05, ["of the spread of y", "high for any model", "data.gates.rmse=auto takes 0.0024"]),
        ("100*x0*x1", 0.05, ["0.31 % of the spread of y", "hardly any plain draw", "data.gates.rmse=auto takes 4.8"]),
        ("1e6*x0*x1", 0.05, ["single precision does not resolve", "nothing can pass"]),
        ("x0/(x1-0.3)", 0.05, ["x0/(x1-0.3) is nearly singular", "data.range or data.prior"]),
        ("0*x0", 0.05, ["y is the same for all x"]),
    ],
)
def test_what_makes_little_sense_is_said_once(problem, forward, rmse, words):
    (warning,) = told(problem(forward, rmse=rmse))
    assert [word for word in words if word not in warning] == []


def test_each_condition_is_judged(problem):
    (warning,) = told(problem("x0 * x1", "100 * x1"))
    assert "of the spread of y[1]" in warning


@pytest.mark.parametrize(("rmse", "number"), [(0.05, 1), (50, 0)])
def test_conditions_of_other_scales_are_to_be_scaled_since_no_gate_suits_all(problem, rmse, number):
    made = problem("x0*x1", "1000*x0", rmse=rmse)
    (warning,) = told(made)
    assert f"of the spread of y[{number}]" in warning
    low, high = (f"{value:.3g}" for value in made.spread)
    assert f"No gate suits all conditions, which spread by {low} to {high}: multiply them in data.forward" in warning
    assert "auto" not in warning
    assert told(problem("x0*x1", "x0")) == []


def test_of_conditions_of_like_scales_auto_is_advised(problem):
    warned = told(problem("0.1*x0*x1", "0.1*x0"))
    assert warned
    assert all("data.gates.rmse=auto takes 0.0048" in warning for warning in warned)


def test_bounds_of_vectors_are_named(vector_problem):
    (warning,) = told(vector_problem("x0 / x1"))
    assert "x0 / x1 is nearly singular" in warning
    assert "data.bounds or data.prior" in warning


def read(path):
    return yaml.safe_load((ROOT / "conf" / path).read_text())


@pytest.mark.parametrize("name", ["product", "two_birds", "two_birds_low", "two_birds_mixed"])
def test_the_shipped_problems_are_passed_over_in_silence(problem, name):
    content = read(f"data/{name}.yaml")
    assert told(problem(*content["forward"], **content.get("gates", {}))) == []


def test_of_the_functions_of_the_table_one_is_smaller_than_its_gate(problem):
    made = {}
    for name, words in read("table/functions.yaml")["rows"].items():
        values = {key.rpartition(".")[2]: yaml.safe_load(value) for key, value in (word.split("=") for word in words)}
        gates = {key: values[key] for key in ("rmse", "pearson") if key in values}
        made[name] = problem(*values["forward"], **gates)
    assert len(made) == 13
    warned = {name: warnings for name, one in made.items() if (warnings := told(one))}
    assert warned.keys() == {"maximum(x0 - 0.5, 0) * x1"}
    assert "of the spread of y: what passes says little" in warned["maximum(x0 - 0.5, 0) * x1"][0]


def test_gate_spread_and_flat_answers_are_named_for_each_condition(problem, vector_problem):
    two = problem("x0 * x1", "cos(4*x0)")
    text = described(two, prior_conditions(two), "the prior")
    assert text.startswith("gates.rmse is 0.05: y[0] spreads by 0.16, of which the gate is 31 %, and a constant at its")
    assert re.search(r"passes for 65 % of all y\[0\]; y\[1\] spreads by 0\.(59|6)", text)
    assert "over the prior" in text
    one = vector_problem()
    # a single number is always a constant
    assert "constant" not in described(one, prior_conditions(one), "a file")


@pytest.mark.parametrize("scale", [1e-3, 1.0, 500.0])
def test_auto_follows_the_scale_of_y(problem, scale):
    made = problem(f"{scale}*x0*x1")
    assert auto_gate(made, prior_conditions(made)) == pytest.approx(0.048 * scale, rel=0.05)


def test_auto_takes_the_smallest_spread_and_leaves_out_what_is_constant(vector_problem):
    made = vector_problem("100*x0", "x1", "0*x0")
    # 5 % of the standard deviation of a uniform variable on [-1, 1]
    assert auto_gate(made, prior_conditions(made)) == pytest.approx(0.05 * 2 / 12**0.5, rel=0.05)
    constant = vector_problem("0*x0")
    with pytest.raises(ValueError, match=r"data\.gates\.rmse is auto.*y does not vary"):
        auto_gate(constant, prior_conditions(constant))
