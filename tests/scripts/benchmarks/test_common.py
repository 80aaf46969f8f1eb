import json

import common
import pytest
import torch
from common import assess, markdown, plans_of, problem_of, show, trained, training_evaluations, unseen

from cvae.data import Simulation
from cvae.errors import UserError
from cvae.files import write_json
from cvae.generation import Plan
from cvae.inversion import ReferenceSet
from cvae.metrics import coverage
from cvae.runs import launch
from cvae.runs.folder import mark_running
from cvae.runs.train import settings_of


class Known:
    """Gives the same solutions whatever it is asked."""

    def __init__(self, x):
        self.x = x

    def draw(self, y, draws, generator):
        return self.x[:, :draws]


@pytest.fixture
def separate(problem, generator):
    """Three conditions with 2, 1 and 5 solutions as it were, and four draws for each: all, half and none of them."""
    problem = problem("x0 * 0", rmse=0.5)
    known = problem.space.sample(8, generator)
    references = [ReferenceSet(known[:2], True), ReferenceSet(known[2:3], True), ReferenceSet(known[3:8], True)]
    x = problem.space.decode(torch.stack([known[[0, 1, 0, 1]], known[[2, 2, 2, 2]], known[[3, 4, 5, 6]]]))
    x[1] = x[1].flip(-1)  # wrong slopes, so invalid
    return problem, x, torch.zeros(3, 1, 50), references


def test_a_row_tells_how_many_of_the_separate_solutions_were_found(separate):
    problem, x, y, references = separate
    (row,) = assess("known", Known(x), problem, y, references, {"4 plain": Plan(draws=4)}, train_s=7.0)
    assert (row["name"], row["plan"], row["train_s"]) == ("known", "4 plain", 7.0)
    assert row["valid"] == pytest.approx(2 / 3)
    assert row["mode_recall"] == pytest.approx((1 + 0 + 4 / 5) / 3)
    assert row["mode_recall_pooled"] == pytest.approx((2 + 0 + 4) / 8)
    # the third has more solutions than draws
    assert row["complete"] == 0.5
    assert (row["coverage_limit"], row["coverage_ratio"]) == (None, None)
    valid = torch.tensor([[True] * 4, [False] * 4, [True] * 4])
    assert row["coverage"] == pytest.approx(coverage(problem.space.coordinates(x), valid).mean().item())
    assert (row["evaluations"], row["forward_evaluations"]) == (4, 4)


def test_a_row_for_every_plan_and_what_it_costs(separate):
    problem, x, y, references = separate
    plans = {"1": {"draws": 1}, "2 of 4": {"draws": 2, "candidates": 4}, "refined": {"draws": 4, "refine_steps": 2}}
    # separate solutions are not oversampled: no row
    unchecked = {"unchecked": {"draws": 1, "oversample": 4}}
    rows = assess("known", Known(x), problem, y, references, plans_of(plans | unchecked))
    with pytest.raises(UserError, match="all plans oversample"):
        assess("known", Known(x), problem, y, references, plans_of(unchecked))
    assert [row["plan"] for row in rows] == list(plans)
    assert [row["evaluations"] for row in rows] == [1, 4, 4]
    assert rows[2]["forward_evaluations"] > 4
    # two draws, chosen from the copies, are the two solutions of the first condition
    assert [row["complete"] for row in rows[:2]] == [0, 0.5]


def test_where_all_conditions_have_more_solutions_than_draws_none_can_be_complete(separate):
    problem, x, y, references = separate
    (row,) = assess("known", Known(x), problem, y, [references[2]] * 3, {"4": Plan(draws=4)})
    assert row["complete"] is None


def test_a_row_tells_the_share_of_the_limit_on_a_continuum(vector_problem, generator):
    problem = vector_problem("x0 * 0", rmse=0.5)
    known = problem.space.sample(4, generator)
    references = [ReferenceSet(known, False), ReferenceSet(known[:2], False)]
    x = torch.stack([known, known[[0, 0, 0, 0]]])
    (row,) = assess("known", Known(x), problem, torch.zeros(2, 1), references, {"4": Plan(draws=4)})
    u, everything = problem.space.coordinates(known)[None], torch.ones(1, 4, dtype=torch.bool)
    four, two, one = (coverage(u[:, :n], everything[:, :n]).item() for n in (4, 2, 1))
    # of the second, one solution is drawn, and two are known
    assert row["coverage_limit"] == pytest.approx((four + two) / 2)
    assert row["coverage_ratio"] == pytest.approx((1 + one / two) / 2)
    left_out = problem.space.scaled(known[1]) - problem.space.scaled(known[0])
    assert row["reference_distance"] == pytest.approx((0 + left_out.square().mean().sqrt().item() / 2) / 2)
    assert (row["mode_recall"], row["pearson"]) == (None, None)


def test_tables_leave_out_what_no_row_has(capsys):
    rows = [{"name": "a", "valid": 0.0123456, "limit": None}, {"name": "b", "recall": 1.0, "f": 1234567}]
    assert markdown(rows).splitlines() == [
        "| name | valid | recall | f |",
        "| --- | --- | --- | --- |",
        "| a | 0.01235 |  |  |",
        "| b |  | 1 | 1234567 |",
    ]
    show(rows, "a title")
    out = capsys.readouterr().out
    assert "a title" in out
    assert "0.01235" in out
    assert "limit" not in out


def test_unseen_conditions_are_fixed_and_in_no_training(problem):
    problem = problem()
    one, same, other = unseen(problem, 20, 3), unseen(problem, 20, 3), unseen(problem, 20, 4)
    assert torch.equal(one.x, same.x)
    for x in (other.x, *(split.x for split in Simulation(500, 50, 50).load(problem, 3))):
        assert (one.x[:, None] - x).abs().amax((2, 3)).min() > 1e-6
    with pytest.raises(UserError, match="conditions is 0; it must be at least 1"):
        unseen(problem, 0, 3)


def test_a_plan_with_an_unknown_entry_is_told():
    with pytest.raises(UserError, match=r"table\.plans\.plain\.count"):
        plans_of({"plain": {"count": 30}})


def test_a_task_without_a_forward_operator_is_refused(monkeypatch):
    monkeypatch.setattr(common, "task_of", lambda data: object())
    with pytest.raises(UserError, match="has no forward operator"):
        problem_of({"_target_": "a.task"})


@pytest.fixture
def trainings(monkeypatch):
    """Stands in for trainings: notes the settings, and leaves what a training leaves."""
    done = []

    def train(cfg, run_dir, start, overrides, callbacks):
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
    monkeypatch.setattr(common.Generative, "load", lambda path: path.read_text())
    return done


QUICK = ("recipe.separate=false", "recipe.y_term=true", "data.evaluation.references=0")


def test_a_training_is_kept_until_anything_in_its_config_changes(shipped, tmp_path, trainings):
    folder = tmp_path / "kept"
    for number, change in enumerate(("loss.wx=1", "loss.wx=2"), start=1):
        cfg = shipped(*QUICK, change)
        assert trained(cfg, folder) == trained(cfg, folder) == (str(number), float(number))
    assert len(trainings) == 2


def test_a_training_that_was_cut_short_is_taken_for_no_other(shipped, tmp_path, trainings):
    folder = tmp_path / "kept"
    trained(shipped(*QUICK), folder)
    with pytest.raises(KeyboardInterrupt):
        trained(shipped(*QUICK, "trainer.max_epochs=13"), folder)
    # the folder holds a checkpoint of the broken one
    assert trained(shipped(*QUICK), folder) == ("3", 3.0)


CONTINUUM = ("recipe.separate=false", "recipe.y_term=true", "loss.set_objective.weight=0")
SEPARATE = ("recipe.separate=true", "recipe.y_term=false")


@pytest.mark.parametrize(
    ("overrides", "simulations", "per_pair"),
    [
        (CONTINUUM, 64, 3.0),
        ((*CONTINUUM, "loss.wy=0"), 64, 0.0),
        # fresh pairs in each epoch; eight components in the second half of the training
        (SEPARATE, 192, 3 * 0.5 * 8),
        ((*SEPARATE, "+model.enumerated=4", "loss.y_term.start=0"), 192, 3 * 4),
        ((*SEPARATE, "loss.wy=0"), 192, 0.0),
    ],
)
def test_evaluations_of_f_in_training_are_counted(shipped, overrides, simulations, per_pair):
    cfg = shipped(*overrides, "trainer.max_epochs=3", "data.evaluation.references=0")
    assert training_evaluations(cfg) == simulations + 64 * per_pair


@pytest.mark.parametrize(("y_start", "of_y_term"), [("0", 96 + 3 * 10), ("0.75", 1.5 * 10)])
def test_draws_that_are_trained_together_evaluate_f_as_well(shipped, y_start, of_y_term):
    """Three of six steps with ten sets of four, whose pairs alone have a y-term then."""
    sets = [f"loss.set_objective.{entry}" for entry in ("weight=1", "start=0.5", "draws=[4,4]", "size=40")]
    words = [*CONTINUUM[:2], *sets, f"loss.y_term.start={y_start}", "trainer.max_epochs=3", "data.batch_size=32"]
    assert training_evaluations(shipped(*words, "data.evaluation.references=0")) == 64 + 3 * 40 + of_y_term
