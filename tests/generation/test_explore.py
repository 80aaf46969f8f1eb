import pytest
import torch

from cvae.generation import Plan, generate
from cvae.generation.select import exchange, select_cover
from cvae.metrics import coverage, greedy_cover
from cvae.seeds import stream


class OneSolution:
    """Proposes one solution of each condition, again and again."""

    def __init__(self, x):
        self.x = x

    def draw(self, y, draws, generator, temperature=None):
        return self.x.unsqueeze(1).expand(-1, draws, -1, -1).clone()


@pytest.mark.parametrize("forward", [["x0 * x1"], ["minimum(x0, x1)"]])
def test_a_continuum_is_explored_from_a_single_solution(problem, forward):
    problem = problem(*forward)
    x = problem.geometry.to_lines(problem.geometry.sample(5, stream(3)))
    y = problem.forward(x)
    model = OneSolution(x)
    alone = generate(model, problem, y, Plan(count=30, pool=60, refine_steps=15))
    explored = generate(model, problem, y, Plan(count=30, pool=60, refine_steps=15, explore=300))
    assert explored.check.valid.all()
    assert explored.stages["select"].coverage > 5 * alone.stages["select"].coverage
    assert explored.stages["explore"].draws == 360


def test_exchanging_never_covers_less_and_keeps_all_different(problem):
    geometry = problem().geometry
    x = geometry.to_lines(geometry.sample(4 * 200, stream(1))).unflatten(0, (4, 200))
    valid = torch.rand(4, 200, generator=stream(2)) < 0.8

    def swept(chosen):
        picked = x.gather(1, chosen[..., None, None].expand(-1, -1, 2, 50))
        return coverage(picked, valid.gather(1, chosen), (0.0, 1.0))

    greedy = greedy_cover(x, valid, 10, (0.0, 1.0))
    better = exchange(x, valid, greedy, (0.0, 1.0))
    assert (swept(better) >= swept(greedy)).all()
    assert swept(better).mean() > swept(greedy).mean()
    assert valid.gather(1, better).all()
    assert all(len(row.unique()) == 10 for row in better)


def test_too_few_valid_draws_are_all_chosen(problem):
    problem = problem()
    x = problem.geometry.to_lines(problem.geometry.sample(20, stream(4))).unsqueeze(0)
    y = problem.forward(x[:, 0])
    check = problem.check(x, y)
    check = check._replace(valid=torch.arange(20).unsqueeze(0) < 3)
    chosen = select_cover(problem, x, check, 6)
    assert {0, 1, 2} <= set(chosen[0].tolist())
    assert len(chosen[0].unique()) == 6
