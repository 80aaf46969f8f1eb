import importlib.util

import pytest
import torch

from cvae.baselines import PriorDraws, Rejection
from cvae.errors import UserError
from cvae.models import Tempered
from cvae.seeds import Purpose, stream


def conditions(problem, count):
    theta = problem.space.sample(count, torch.Generator().manual_seed(9))
    return problem.forward(problem.space.decode(theta))


def draw(model, y, draws, seed=0):
    return model.draw(y, draws, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "make", [lambda problem, seed: PriorDraws(problem), lambda problem, seed: Rejection(problem, 2_000, seed)]
)
@pytest.mark.parametrize("directions", [["falling", "rising"], ["falling", "rising", "rising"], ["rising"]])
def test_draws_are_lines_and_fixed_by_their_seeds(problem, make, directions):
    problem = problem("x0", directions=directions, points=23)
    y = conditions(problem, 4)
    x = draw(make(problem, 0), y, 6)
    assert x.shape == (4, 6, len(directions), 23)
    check = problem.check(x, y)
    assert check.in_range.all()
    assert (check.straightness > 0.999).all()
    assert torch.equal(x, draw(make(problem, 0), y, 6))
    assert not torch.equal(x, draw(make(problem, 1), y, 6, seed=1))


def test_draws_of_the_prior_are_the_priors(problem):
    problem = problem()
    x = draw(PriorDraws(problem), torch.zeros(5, 1, 50), 200)
    expected = problem.space.sample(1_000, torch.Generator().manual_seed(0))
    assert torch.equal(x, problem.space.decode(expected).unflatten(0, (5, 200)))


def test_many_simulations_give_valid_draws_that_all_differ(problem):
    problem = problem()
    y = conditions(problem, 5)
    x = draw(Rejection(problem, 50_000), y, 30)
    assert problem.check(x, y).valid.all()
    for one in x:
        assert len(one.flatten(1).unique(dim=0)) == 30


def in_order(x):
    """Draws of each condition, sorted."""
    return sorted(x.flatten(1).tolist())


def test_the_same_simulations_serve_every_call(problem):
    problem = problem()
    y = conditions(problem, 3)
    sampler = Rejection(problem, 5_000, seed=4)
    whole, parts = draw(sampler, y, 30), [draw(sampler, one[None], 30, seed=1) for one in y]
    assert all(in_order(one) == in_order(part[0]) for one, part in zip(whole, parts, strict=True))
    other = draw(Rejection(problem, 5_000, seed=5), y, 30)
    assert not any(in_order(one) == in_order(part) for one, part in zip(whole, other, strict=True))


def test_the_generator_alone_orders_accepted_draws(problem):
    problem = problem()
    y = conditions(problem, 2)
    sampler = Rejection(problem, 5_000)
    first, again, other = (draw(sampler, y, 30, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert in_order(first[0]) == in_order(other[0])


def test_few_simulations_give_what_they_accept_and_then_the_nearest(problem):
    problem = problem()
    y = conditions(problem, 6)
    draws = 60
    x = draw(Rejection(problem, 1_000), y, draws)
    check = problem.check(x, y)
    accepted = check.valid.sum(1)
    assert accepted.min() < draws
    pool = problem.space.decode(problem.space.sample(1_000, stream(Purpose.REJECTION_POOL, 0)))
    for index, one in enumerate(x):
        assert len(one.flatten(1).unique(dim=0)) == draws
        everything = problem.check(pool[None], y[index : index + 1])
        count = int(accepted[index])
        assert count == min(int(everything.valid.sum()), draws)
        missed = check.misfit[index][~check.valid[index]].sort().values
        misfits = everything.misfit[0][~everything.valid[0]].sort().values
        torch.testing.assert_close(missed, misfits[: draws - count], rtol=1e-3, atol=1e-4)


def test_fewer_simulations_than_draws_are_refused(problem):
    problem = problem()
    with pytest.raises(ValueError, match="20 simulations give 20 of 30 draws; simulate more"):
        draw(Rejection(problem, 20), conditions(problem, 2), 30)


@pytest.mark.parametrize(
    "make", [lambda problem, seed: PriorDraws(problem), lambda problem, seed: Rejection(problem, 2_000, seed)]
)
def test_vectors_are_in_their_box_and_fixed_by_their_seeds(vector_problem, make):
    problem = vector_problem("x0 * x1", "x2", bounds=[[-1, 1], [0, 10], [5, 6]])
    y = conditions(problem, 4)
    x = draw(make(problem, 0), y, 6)
    assert x.shape == (4, 6, 3)
    assert problem.check(x, y).in_range.all()
    assert torch.equal(x, draw(make(problem, 0), y, 6))
    assert not torch.equal(x, draw(make(problem, 1), y, 6, seed=1))


def test_rejection_solves_vectors(vector_problem):
    problem = vector_problem()
    y = conditions(problem, 5)
    assert problem.check(draw(Rejection(problem, 20_000), y, 30), y).valid.all()


def test_no_baseline_has_a_temperature(problem):
    assert not any(isinstance(sampler, Tempered) for sampler in (PriorDraws(problem()), Rejection(problem(), 10)))


@pytest.mark.skipif(importlib.util.find_spec("sbi") is not None, reason="sbi is installed")
def test_without_sbi_the_message_names_the_extra(problem):
    from cvae.baselines.npe import NPE

    with pytest.raises(UserError, match=r"needs the package sbi: pip install -e '\.\[bench\]'"):
        NPE(problem())
