import pytest
import torch

from cvae.generation import Plan, generate
from cvae.generation.select import select_cover
from cvae.metrics import coverage, exchange, greedy_cover
from cvae.seeds import Purpose, stream


class OneSolution:
    """Proposes one solution of each condition, again and again."""

    def __init__(self, x):
        self.x = x

    def draw(self, y, draws, generator):
        return self.x.unsqueeze(1).repeat(1, draws, *[1] * (self.x.dim() - 1))


@pytest.mark.parametrize("forward", [["x0 * x1"], ["minimum(x0, x1)"]])
def test_a_continuum_is_explored_from_a_single_solution(problem, forward):
    problem = problem(*forward)
    x = problem.space.decode(problem.space.sample(5, stream(Purpose.SIMULATION, 3)))
    y = problem.forward(x)
    model = OneSolution(x)
    alone = generate(model, problem, y, Plan(draws=30, candidates=60, refine_steps=15))
    explored = generate(model, problem, y, Plan(draws=30, candidates=60, refine_steps=15, explore=300))
    assert explored.check.valid.all()
    assert explored.stages["select"].coverage > 5 * alone.stages["select"].coverage
    assert explored.stages["explore"].draws == 360


def test_a_curve_of_vectors_is_explored_from_a_single_solution(vector_problem):
    problem = vector_problem()
    x = problem.space.sample(4, stream(Purpose.SIMULATION, 3))
    y = problem.forward(x)
    explored = generate(OneSolution(x), problem, y, Plan(draws=30, candidates=60, refine_steps=15, explore=600))
    assert explored.check.valid.all()
    assert (coverage(problem.space.coordinates(explored.x), explored.check.valid) > 0.2).all()


def test_exchanging_never_covers_less_and_keeps_all_different(problem):
    space = problem().space
    u = space.coordinates(space.decode(space.sample(4 * 200, stream(Purpose.SIMULATION, 1)))).unflatten(0, (4, 200))
    valid = torch.rand(4, 200, generator=stream(Purpose.SIMULATION, 2)) < 0.8

    def swept(chosen):
        picked = u.gather(1, chosen[..., None].expand(-1, -1, 100))
        return coverage(picked, valid.gather(1, chosen))

    greedy = greedy_cover(u, valid, 10)
    better = exchange(u, valid, greedy)
    assert (swept(better) >= swept(greedy)).all()
    assert swept(better).mean() > swept(greedy).mean()
    assert valid.gather(1, better).all()
    assert all(len(row.unique()) == 10 for row in better)


def test_too_few_valid_draws_are_all_chosen(problem):
    problem = problem()
    x = problem.space.decode(problem.space.sample(20, stream(Purpose.SIMULATION, 4))).unsqueeze(0)
    y = problem.forward(x[:, 0])
    check = problem.check(x, y)
    check = check._replace(valid=torch.arange(20).unsqueeze(0) < 3)
    chosen = select_cover(problem, x, check, 6)
    assert {0, 1, 2} <= set(chosen[0].tolist())
    assert len(chosen[0].unique()) == 6
