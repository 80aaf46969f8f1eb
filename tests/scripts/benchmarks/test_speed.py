"""The benchmark of speed: that both sides do the same work, and that nothing is missing from its report."""

import json

import growth
import pytest
import torch
from growth import growth_rows, slope
from loops import Turns, train_unseen
from timing import finding, in_turns, ratio

from cvae.errors import UserError


@pytest.mark.parametrize("model", ["dense", "mixture"])
def test_the_bare_loop_does_the_very_updates_of_the_trainer(shipped, model):
    separate = "true" if model == "mixture" else "false"
    chosen = [f"model={model}", f"recipe.separate={separate}", "recipe.y_term=true", "callbacks.figures=null"]
    # the loop knows AdamW and the bound
    chosen += ["optimizer=adamw", "loss.set_objective.weight=0"]
    # without a best epoch the trainer ends with the weights of the last one
    chosen += ["callbacks.checkpoint=null", "data.evaluation.references=0", "data.batch_size=20", "test=false"]
    turns = Turns(block=2, seconds=1e9)
    train_unseen(shipped(*chosen, "trainer.max_epochs=3"), turns)
    # 64 samples are batches of 20, 20, 20 and 4, in blocks of two
    assert len(turns.ours) == len(turns.theirs) == 3 * 2
    bare = turns.network.state_dict()
    for name, weights in turns.model.network.state_dict().items():
        assert torch.equal(weights, bare[name]), name


SMALL = (
    "training.models=[dense]", "training.batch_sizes=[32]", "training.samples=64", "training.block=32",
    "training.seconds=0", "starter.samples=200", "starter.block=100", "starter.seconds=0", "generation.models=[dense]",
    "generation.conditions=2", "generation.draws=[3]", "generation.candidates=30", "generation.rounds=2",
    "generation.epochs=0", "validation.epochs=2",
    "validation.overrides=['data.source.train=64','data.source.validation=16','data.evaluation.references=0',"
    "'data.evaluation.validation=4','recipe.separate=false','recipe.y_term=true','callbacks.figures=null']",
)  # fmt: skip


def test_every_part_that_trains_or_generates_is_reported(run_benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr("parts.CALLS", 5)
    done = run_benchmark("speed", "parts=[training,starter,generation,validation]", "out=speed.json", *SMALL)
    assert done.status == 0, done.err
    written = json.loads((tmp_path / "work" / "speed.json").read_text())
    assert written["machine"].keys() >= {"cores", "threads", "torch", "load"}
    parts = ["training", "starter", *["generation"] * 4, "validation"]
    assert [row["part"] for row in written["findings"]] == parts
    assert [row["part"] for row in done.table] == parts
    assert all(row["value"] > 0 for row in written["findings"])


@pytest.mark.slow
def test_growth_is_measured_in_processes_and_drawn(run_benchmark, tmp_path, monkeypatch):
    measure = growth._in_process

    def first_alone(kind, sizes):
        return measure(kind, sizes) if sizes["candidates"] == 2 else {"seconds": 1, "peak_mib": 1000, "memory_mib": 9}

    monkeypatch.setattr(growth, "_in_process", first_alone)
    words = ("growth.axes.candidates=[2,4]", "~growth.axes.triples", "~growth.axes.points", "~growth.axes.lines")
    done = run_benchmark("speed", "parts=[growth]", "out=speed.json", "growth.picture=growth.png", *words)
    assert done.status == 0, done.err
    assert [row["what"].split(",")[1] for row in done.table[:2]] == [" 2 candidates", " 4 candidates"]
    assert (tmp_path / "work" / "growth.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["parts=[sleep]"], "parts holds 'sleep'; choose from training, starter"),
        (["parts=[training]", "training.samples=many"], "training.samples is 'many'; it must be a whole number"),
        (["parts=[start]", "start.rounds=0"], "rounds is 0; it must be at least 1"),
        (["parts=[validation]", "validation.epochs=1"], "validation.epochs is 1; it must be at least 2"),
        (["parts=[growth]", "growth.axes.points=[50]"], "growth.axes.points is [50]; give at least two sizes"),
    ],
)
def test_a_wrong_option_is_one_message(run_benchmark, words, message):
    done = run_benchmark("speed", *words)
    assert done.status == 1
    assert message in done.err


def test_a_ratio_is_the_median_over_neighbouring_turns():
    row = ratio("part", "what", ours=[1, 2, 1], theirs=[3, 2, 2], goal=1.5)
    assert (row["value"], row["low"], row["high"], row["reached"]) == (2, 1.5, 2.5, "yes")


@pytest.mark.parametrize(("unit", "value", "reached"), [("x", 2, "yes"), ("x", 0.5, "no"), ("s", 2, "no")])
def test_ratios_reach_their_goal_from_above_and_costs_from_below(unit, value, reached):
    assert finding("part", "what", [value], unit, goal=1.0)["reached"] == reached
    assert "reached" not in finding("part", "what", [value], unit)


def test_measurements_alternate():
    order = []
    laps = in_turns({name: lambda name=name: order.append(name) or len(order) for name in "ab"}, rounds=2)
    assert "".join(order) == "abab"
    assert laps == {"a": [1, 3], "b": [2, 4]}
    with pytest.raises(UserError, match="rounds is 0"):
        in_turns({}, 0)


@pytest.mark.parametrize("power", [1, 2])
def test_the_slope_tells_linear_from_quadratic_growth(power):
    sizes = [10, 100, 1000]
    assert slope(sizes, [float(size**power) for size in sizes]) == pytest.approx(power)


def test_growth_is_told_of_time_and_of_memory_at_work():
    measured = {size: {"seconds": size / 100, "peak_mib": 400 + size**2, "memory_mib": size**2} for size in (10, 20)}
    *_, time, memory = growth_rows("training", "lines", measured)
    assert (time["value"], memory["value"]) == pytest.approx((1, 2))
    assert (time["reached"], memory["reached"]) == ("yes", "no")
