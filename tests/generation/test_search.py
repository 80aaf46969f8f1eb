import pytest
import torch

from cvae.generation import Plan, generate
from cvae.generation.search import SEARCH, search_missing
from cvae.problems.reference import search_pool

HIGH = ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"]


class Useless:
    """Proposes the same line everywhere, which solves nothing."""

    def __init__(self, problem):
        self.problem = problem

    def draw(self, y, draws, generator, temperature=None):
        line = torch.tensor([[0.9, 0.89], [0.89, 0.9]])
        return self.problem.geometry.to_lines(line).expand(len(y), draws, -1, -1).clone()


@pytest.mark.parametrize("forward", [HIGH, ["cos(49*x0 + 42*x1)"]])
def test_every_condition_gets_valid_draws_even_from_a_useless_model(problem, forward):
    problem = problem(*forward)
    y = problem.forward(problem.geometry.to_lines(problem.geometry.sample(6, torch.Generator().manual_seed(2))))
    plan = Plan(count=30, pool=40, refine_steps=1)
    without = generate(Useless(problem), problem, y, plan)
    searched = generate(Useless(problem), problem, y, Plan(count=30, pool=40, refine_steps=15, search=200_000))
    assert without.check.valid.float().mean() < 0.9
    assert searched.check.valid.all()
    assert searched.stages["search"].valid > without.stages["refine"].valid
    assert searched.forward_evaluations > 200_000


def test_conditions_with_enough_valid_draws_are_left_alone(problem):
    problem = problem("x0 * x1")
    x = problem.geometry.to_lines(problem.geometry.sample(2, torch.Generator().manual_seed(0)))
    y = problem.forward(x)
    # the first condition has its own solution 30 times, the second one a foreign one
    draws = torch.stack([x[0].expand(30, -1, -1), x[0].expand(30, -1, -1)])
    check = problem.check(draws, y)
    assert check.valid.sum(1).tolist() == [30, 0]
    mended, searched, _ = search_missing(problem, draws, y, check, 30, 20_000, 10, seed=0, exact=False)
    assert searched == 1
    assert torch.equal(mended[0], draws[0])
    assert problem.check(mended, y).valid.all()


def test_a_search_without_refinement_is_refused():
    with pytest.raises(ValueError, match=r"needs generation\.refine_steps above 0"):
        Plan(search=1_000)


def test_the_pool_that_is_searched_is_not_that_of_the_reference_sets(problem):
    problem = problem(*HIGH)
    y = problem.forward(problem.geometry.to_lines(problem.geometry.sample(3, torch.Generator().manual_seed(2))))
    own, reference = (search_pool(problem, y, 0, 50, 0, 5_000, *key) for key in ((SEARCH,), ()))
    for one, other in zip(own.nearest, reference.nearest, strict=True):
        assert not (one.flatten(1)[:, None] == other.flatten(1)[None]).all(-1).any()
