import json
import re
from dataclasses import fields

import pytest
import torch

from cvae import benchmark
from cvae.benchmark import Row, assess, held_out, markdown, print_table, trained, training_evaluations
from cvae.data import Simulation
from cvae.files import write_json
from cvae.generation import Plan
from cvae.metrics import coverage
from cvae.problems.reference import ReferenceSet
from cvae.runs import launch
from cvae.runs.folder import mark_running
from cvae.training import settings_of


class Known:
    """Gives the same solutions whatever it is asked."""

    def __init__(self, x):
        self.x = x

    def draw(self, y, draws, generator, temperature=None):
        return self.x[:, :draws]


@pytest.fixture
def separate(problem):
    """Three conditions with 2, 1 and 5 solutions as it were, and four draws for each: all, half and none of them."""
    problem = problem("x0 * 0", rmse=0.5)
    known = problem.geometry.sample(10, torch.Generator().manual_seed(0))
    references = [ReferenceSet(known[:2], True), ReferenceSet(known[2:3], True), ReferenceSet(known[3:8], True)]
    draws = torch.stack([known[[0, 1, 0, 1]], known[[2, 2, 2, 2]], known[[3, 4, 5, 6]]])
    x = problem.geometry.to_lines(draws)
    x[1] = x[1].flip(-1)  # wrong slopes, so invalid
    return problem, x, torch.zeros(3, 1, 50), references


def test_a_row_tells_how_many_of_the_separate_solutions_were_found(separate):
    problem, x, y, references = separate
    (row,) = assess("known", Known(x), problem, y, references, {"4 plain": Plan(count=4)}, train_s=7.0)
    assert (row.name, row.stage, row.train_s) == ("known", "4 plain", 7.0)
    assert row.valid == pytest.approx(2 / 3)
    assert row.rmse == 0
    # the third has more solutions than draws
    assert (row.mode_recall, row.complete) == (0.5, 0.5)
    assert (row.coverage_limit, row.coverage_ratio) == (None, None)
    valid = torch.tensor([[True] * 4, [False] * 4, [True] * 4])
    swept = coverage(x, valid, (0.0, 1.0))
    assert row.coverage == pytest.approx(swept.mean().item())
    assert row.score == pytest.approx(row.coverage)
    assert row.generate_s > 0
    assert (row.evaluations, row.forward_evaluations) == (4, 4)


def test_a_row_for_every_plan_and_what_it_costs(separate):
    problem, x, y, references = separate
    plans = {"1": Plan(count=1), "2 of 4": Plan(count=2, pool=4), "refined": Plan(count=4, refine_steps=2)}
    rows = assess("known", Known(x), problem, y, references, plans)
    assert [row.stage for row in rows] == list(plans)
    assert [row.evaluations for row in rows] == [1, 4, 4]
    assert rows[2].forward_evaluations > 4
    # only the second condition has one solution, and its draws are invalid
    assert (rows[0].mode_recall, rows[0].complete) == (0, 0)
    # two draws, chosen from the copies, are the two solutions
    assert (rows[1].mode_recall, rows[1].complete) == (0.5, 0.5)


def test_where_all_conditions_have_more_solutions_than_draws_nothing_is_said(separate):
    problem, x, y, references = separate
    many = [references[2]] * 3
    (row,) = assess("known", Known(x), problem, y, many, {"4": Plan(count=4)})
    assert (row.mode_recall, row.complete) == (None, None)


def test_a_row_tells_the_share_of_the_limit_on_a_continuum(problem):
    problem = problem("x0 * 0", rmse=0.5)
    known = problem.geometry.sample(4, torch.Generator().manual_seed(0))
    references = [ReferenceSet(known, False), ReferenceSet(known[:2], False)]
    x = problem.geometry.to_lines(torch.stack([known, known[[0, 0, 0, 0]]]))
    (row,) = assess("known", Known(x), problem, torch.zeros(2, 1, 50), references, {"4": Plan(count=4)})
    everything = torch.ones(1, 4, dtype=torch.bool)
    lines = problem.geometry.to_lines(known)[None]
    one, two = (coverage(lines[:, :n], everything[:, :n], (0.0, 1.0)).item() for n in (1, 2))
    # of the second, one solution is drawn, and two are known
    assert row.coverage_limit == pytest.approx((coverage(lines, everything, (0.0, 1.0)).item() + two) / 2)
    assert row.coverage_ratio == pytest.approx((1 + one / two) / 2)
    assert (row.mode_recall, row.complete) == (None, None)
    assert row.valid == 1


ROWS = [
    Row("a", "plain", 0.25, 0.0123456, 1.0, 0.5, 0.6, 0.5, None, None, 0.75, 1.0, 10.0, 0.1, 30, 30),
    Row("b", "refined", 1.0, 1e-05, 1.0, 0.5, 0.6, 0.5, None, None, None, None, 10.0, 0.1, 30, 1234567),
]


def test_the_table_for_a_document_leaves_out_what_no_row_has():
    lines = markdown(ROWS).splitlines()
    hidden = ("coverage_limit", "coverage_ratio", "training_evaluations")
    names = [field.name for field in fields(Row) if field.name not in hidden]
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == names
    assert lines[1] == "|" + "---|" * len(names)
    first, second = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:])
    assert first == ["a", "plain", "0.25", "0.01235", "1", "0.5", "0.6", "0.5", "0.75", "1", "10", "0.1", "30", "30"]
    assert second == ["b", "refined", "1", "1e-05", "1", "0.5", "0.6", "0.5", "", "", "10", "0.1", "30", "1234567"]


def test_the_printed_table_shows_the_same(capsys):
    print_table(ROWS, "a title")
    out = capsys.readouterr().out
    assert "a title" in out
    assert "mode_recall" in out
    assert "coverage_ratio" not in out
    assert re.search(r"b +│ refined +│ 1 +│ 1e-05", out)


def test_held_out_conditions_are_fixed_and_in_no_training(problem):
    problem = problem()
    one, same, other = held_out(problem, 20, 3), held_out(problem, 20, 3), held_out(problem, 20, 4)
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.y, problem.forward(one.x))
    _, splits = Simulation(500, 50, 50).load(problem, 3)
    for x in (other.x, *(split.x for split in splits)):
        assert (one.x[:, None] - x).abs().amax((2, 3)).min() > 1e-6


@pytest.fixture
def trainings(monkeypatch):
    """Stands in for trainings: notes the settings, and leaves what a training leaves."""
    done = []

    def train(cfg, run_dir, overrides, callbacks, start):
        done.append(cfg.trainer.max_epochs)
        mark_running(run_dir, start, settings_of(cfg), overrides)
        (run_dir / "checkpoints").mkdir(exist_ok=True)
        (run_dir / "checkpoints" / "last.ckpt").write_text("of an epoch")
        (run_dir / "best.ckpt").write_text(str(len(done)))
        if cfg.trainer.max_epochs == 13:
            raise KeyboardInterrupt
        record = json.loads((run_dir / "result.json").read_text())
        finished = {"status": "finished", "value": 0.5, "checkpoint": "best.ckpt", "fit_s": len(done)}
        write_json(run_dir / "result.json", record | finished)
        return 0.5

    monkeypatch.setattr(launch, "train", train)
    monkeypatch.setattr(benchmark.CVAE, "load", lambda path: path.read_text())
    return done


def test_a_training_is_kept_until_anything_in_its_config_changes(shipped, tmp_path, trainings):
    folder = tmp_path / "kept"
    assert trained(shipped(), folder) == ("1", 1.0)
    assert trained(shipped(), folder) == ("1", 1.0)
    changes = ["trainer.max_epochs=2", "optimizer=sgd", "recipe.separate=true", "data.source.train=65", "loss.wx=2"]
    for number, change in enumerate(changes, start=2):
        assert trained(shipped(change), folder) == (str(number), float(number)), change
        assert trained(shipped(change), folder) == (str(number), float(number)), change
    assert len(trainings) == 1 + len(changes)


def test_a_training_that_was_cut_short_is_taken_for_no_other(shipped, tmp_path, trainings):
    folder = tmp_path / "kept"
    trained(shipped(), folder)
    with pytest.raises(KeyboardInterrupt):
        trained(shipped("trainer.max_epochs=13"), folder)
    # the folder holds a checkpoint of the broken one
    assert trained(shipped(), folder) == ("3", 3.0)


BIRDS = "data=two_birds"


@pytest.mark.parametrize(
    ("overrides", "simulations", "per_triple"),
    [
        (["model=dense"], 64, 3.0),
        (["loss.wy=0"], 64, 0.0),
        # fresh triples in each epoch; eight components in the second half of the training
        ([BIRDS], 192, 3 * 0.5 * 8),
        ([BIRDS, "model.separate.enumerated=4", "loss.y_from=0"], 192, 3 * 4),
        ([BIRDS, "loss.wy=0"], 192, 0.0),
    ],
)
def test_evaluations_of_f_in_training_are_counted(shipped, overrides, simulations, per_triple):
    cfg = shipped(*overrides, "trainer.max_epochs=3")
    assert training_evaluations(cfg) == simulations + 64 * per_triple
