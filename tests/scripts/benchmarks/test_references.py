import pytest
import torch
from common import unseen
from references import reference_costs

from cvae.inversion import Budget, coverage_limits, reference_sets


def test_a_continuum_has_a_limit_that_grows_with_the_solutions_kept(problem):
    problem = problem()
    before = torch.get_rng_state()
    few, many = reference_costs(problem, conditions=2, draws=30, sizes=[20, 200], seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert (few["kind"], few["kept"], few["solutions"]) == ("continuum", 20, "20 / 20 / 20")
    assert few["coverage_limit"] < many["coverage_limit"]
    sets = reference_sets(problem, unseen(problem, 2, 0).y, budget=Budget(kept=200))
    assert many["coverage_limit"] == pytest.approx(coverage_limits(problem, sets, 30).mean().item())
    assert min(many["search_s"], many["prepare_s"], many["measure_ms"]) > 0


def test_separate_solutions_have_a_number_and_no_limit(problem):
    problem = problem("cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)", pearson=0.8, rmse=0.1)
    batch = unseen(problem, 5, 0)
    (found,) = reference_costs(problem, conditions=5, draws=30, sizes=[10], seed=0)
    counts = sorted(len(one.theta) for one in reference_sets(problem, batch.y, known=problem.space.encode(batch.x)))
    assert (found["kind"], found["kept"], found["coverage_limit"]) == ("separate", None, None)
    assert found["solutions"] == f"{counts[0]} / {counts[2]} / {counts[4]}"


def test_one_row_for_each_size_and_nothing_is_written(run_benchmark, tmp_path):
    done = run_benchmark("references", "conditions=2", "sizes=[10,200]", "draws=30")
    assert done.status == 0, done.err
    assert [row["kept"] for row in done.table] == ["10", "200"]
    assert 0 < float(done.table[0]["coverage_limit"]) < float(done.table[1]["coverage_limit"]) < 1
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("word", "message"), [("sizes=[0]", "they must be at least 1"), ("sizes=4000", "sizes is 4000; it must be a list")]
)
def test_a_senseless_size_is_one_message(run_benchmark, word, message):
    done = run_benchmark("references", "conditions=2", word)
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err
