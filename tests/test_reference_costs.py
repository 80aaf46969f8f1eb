import pytest
import torch

from cvae.benchmark import held_out
from cvae.metrics.coverage_ratio import coverage_limit
from cvae.problems.reference import reference_sets
from cvae.reference_costs import reference_cost


def test_a_continuum_has_a_limit_that_grows_with_the_solutions_kept(problem):
    problem = problem()
    batch = held_out(problem, 3, 0)
    few, many = (reference_cost(problem, batch, draws=5, kept=kept) for kept in (20, 200))
    assert (few.kind, few.kept, few.solutions) == ("continuum", 20, "20 / 20 / 20")
    assert few.coverage_limit < many.coverage_limit
    sets = reference_sets(problem, batch.y, kept=200)
    assert many.coverage_limit == pytest.approx(coverage_limit(problem.geometry, sets, 5).mean().item())
    assert min(many.search_s, many.limit_s, many.measure_ms) > 0


def test_separate_solutions_have_a_number_and_no_limit(problem):
    problem = problem("cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)", pearson=0.8, rmse=0.1)
    batch = held_out(problem, 5, 0)
    found = reference_cost(problem, batch, draws=30, kept=10)
    counts = sorted(
        len(one.endpoints) for one in reference_sets(problem, batch.y, known=problem.geometry.to_endpoints(batch.x))
    )
    assert (found.kind, found.kept, found.coverage_limit) == ("separate", None, None)
    assert found.solutions == f"{counts[0]} / {counts[2]} / {counts[4]}"


@pytest.mark.parametrize(("draws", "kept"), [(0, 10), (30, 0)])
def test_no_draws_and_no_solutions_are_refused(problem, draws, kept):
    problem = problem()
    with pytest.raises(ValueError, match="they must be at least 1"):
        reference_cost(problem, held_out(problem, 2, 0), draws, kept)


def test_the_hidden_generator_is_left_alone(problem):
    problem = problem()
    before = torch.get_rng_state()
    reference_cost(problem, held_out(problem, 2, 0), 5, 20)
    assert torch.equal(before, torch.get_rng_state())
