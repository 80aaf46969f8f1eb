"""Choices of solutions that are moved to cover more."""

import torch

from cvae.inversion import Budget, reference_sets
from cvae.inversion.cover import spread_out
from cvae.metrics import best_cover, coverage


def covered(problem, theta, y):
    x = problem.space.decode(theta)
    return coverage(problem.space.coordinates(x), problem.check(x, y).valid)


def choices(problem, y, draws):
    sets = reference_sets(problem, y, budget=Budget(200_000, kept=1_000))
    found = []
    for one in sets:
        u = problem.space.coordinates(problem.space.decode(one.theta))[None]
        found.append(one.theta[best_cover(u, torch.ones(u.shape[:2], dtype=torch.bool), draws)[0]])
    return torch.stack(found)


def test_the_gradient_covers_more_than_the_best_choice_of_a_thousand(problem, generator):
    one = problem()
    y = one.forward(one.space.decode(one.space.sample(3, generator)))
    chosen = choices(one, y, 20)
    with torch.inference_mode():  # as in a test of the trainer
        after = covered(one, spread_out(one, chosen.clone(), y.clone(), steps=300), y)
    before = covered(one, chosen, y)
    assert (after >= before).all()
    assert after.mean() > before.mean() + 0.01


def test_a_vector_fills_the_bins_that_its_range_has(vector_problem):
    """Without a gate that binds, ten points can hit ten bins of each of two coordinates: 10 of 50."""
    one = vector_problem(bounds=[[-1, 1], [0, 1000]], rmse=1e9)
    theta = torch.tensor([[0.0, 500.0]]).repeat(10, 1) + torch.linspace(0, 0.01, 10)[:, None]
    y = one.forward(theta[:1])
    assert covered(one, theta[None], y).item() < 0.05
    assert covered(one, spread_out(one, theta[None], y, steps=300), y).item() > 0.18


def test_nothing_is_lost_where_nothing_can_be_gained(problem, generator):
    """A function without a slope: no step leads anywhere, and the choice stays."""
    one = problem("x0 * 0", rmse=1.0)
    theta = one.space.sample(200, generator)
    u = one.space.coordinates(one.space.decode(theta))[None]
    chosen = theta[best_cover(u, torch.ones(1, 200, dtype=torch.bool), 50)]
    y = one.forward(one.space.decode(theta[:1]))
    assert covered(one, spread_out(one, chosen, y, steps=20), y) >= covered(one, chosen, y)
