import pytest
import torch

from cvae.generation import Plan, generate
from cvae.generation.backfill import Backfill
from cvae.inversion import search_simulations
from cvae.seeds import Purpose, stream

HIGH = ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"]


class Useless:
    """Proposes the same line everywhere, which solves nothing."""

    def __init__(self, problem):
        self.problem = problem

    def draw(self, y, draws, generator):
        line = torch.tensor([0.9, 0.89, 0.89, 0.9])
        return self.problem.space.decode(line).expand(len(y), draws, -1, -1).clone()


@pytest.mark.parametrize("forward", [HIGH, ["cos(49*x0 + 42*x1)"]])
def test_every_condition_gets_valid_draws_even_from_a_useless_model(problem, forward):
    problem = problem(*forward)
    y = problem.forward(problem.space.decode(problem.space.sample(6, torch.Generator().manual_seed(2))))
    plan = Plan(draws=30, candidates=40, refine_steps=1)
    without = generate(Useless(problem), problem, y, plan)
    searched = generate(Useless(problem), problem, y, Plan(draws=30, candidates=40, refine_steps=15, backfill=50_000))
    assert without.check.valid.float().mean() < 0.9
    assert searched.check.valid.all()
    assert searched.stages["backfill"].valid > without.stages["refine"].valid
    assert searched.forward_evaluations > 50_000


def test_conditions_with_enough_valid_draws_are_left_alone(problem):
    problem = problem("x0 * x1")
    x = problem.space.decode(problem.space.sample(2, torch.Generator().manual_seed(0)))
    y = problem.forward(x)
    # the first condition has its own solution 30 times, the second one a foreign one
    draws = torch.stack([x[0].expand(30, -1, -1), x[0].expand(30, -1, -1)])
    check = problem.check(draws, y)
    assert check.valid.sum(1).tolist() == [30, 0]
    mended, searched, _ = Backfill(problem, 20_000, 10, seed=0, exact=False)(draws, y, check, 30)
    assert searched == 1
    assert torch.equal(mended[0], draws[0])
    assert problem.check(mended, y).valid.all()


def test_a_backfill_without_refinement_is_refused():
    with pytest.raises(ValueError, match=r"needs generation\.refine_steps above 0"):
        Plan(backfill=1_000)


def test_the_simulations_that_are_searched_are_not_those_of_the_reference_sets(problem):
    problem = problem(*HIGH)
    y = problem.forward(problem.space.decode(problem.space.sample(3, torch.Generator().manual_seed(2))))
    own, reference = (
        search_simulations(problem, y, 0, 50, stream(purpose, 0), 5_000).nearest
        for purpose in (Purpose.BACKFILL_POOL, Purpose.REFERENCE_POOL)
    )
    for one, other in zip(own, reference, strict=True):
        assert not (one[:, None] == other[None]).all(-1).any()


class Middle:
    """Proposes the middle of the box, which solves nothing."""

    def draw(self, y, draws, generator):
        return torch.zeros(len(y), draws, 2)


def test_vectors_that_no_draw_solves_are_found_by_simulations(vector_problem):
    problem = vector_problem("x0**2 + x1**2", "x0 * x1")
    y = problem.forward(torch.tensor([[0.8, 0.3], [-0.5, 0.9]]))
    found = generate(Middle(), problem, y, Plan(draws=10, candidates=20, refine_steps=15, backfill=20_000))
    assert found.stages["refine"].valid == 0
    assert found.check.valid.all()
    for x, (a, b) in zip(found.x, [(0.8, 0.3), (-0.5, 0.9)], strict=True):
        exact = torch.tensor([[a, b], [b, a], [-a, -b], [-b, -a]])
        assert torch.cdist(x, exact).amin(0).max() < 0.01


@pytest.mark.parametrize("lacking", [0, 1, 2])
def test_a_condition_is_searched_alike_whichever_others_are(problem, lacking):
    problem = problem()
    x = problem.space.decode(problem.space.sample(3, torch.Generator().manual_seed(0)))
    y = problem.forward(x)
    draws = x.roll(1, 0).unsqueeze(1).repeat(1, 30, 1, 1)
    backfill = Backfill(problem, 5_000, 5, seed=0, exact=False)
    together = backfill(draws, y, problem.check(draws, y), 30)[0]
    part = slice(lacking, lacking + 1)
    alone = backfill(draws[part], y[part], problem.check(draws[part], y[part]), 30, first=lacking)[0]
    torch.testing.assert_close(alone, together[part], rtol=0, atol=1e-4)
