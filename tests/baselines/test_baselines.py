import importlib.util

import pytest
import torch

from cvae.baselines import PriorDraws, Rejection
from cvae.baselines.rejection import REJECTION
from cvae.seeds import stream


def conditions(problem, count):
    endpoints = problem.geometry.sample(count, torch.Generator().manual_seed(9))
    return problem.forward(problem.geometry.to_lines(endpoints))


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
    expected = problem.geometry.sample(1_000, torch.Generator().manual_seed(0))
    assert torch.equal(x, problem.geometry.to_lines(expected).unflatten(0, (5, 200)))


def test_a_large_pool_gives_valid_draws_that_all_differ(problem):
    problem = problem()
    y = conditions(problem, 5)
    x = draw(Rejection(problem, 50_000), y, 30)
    assert problem.check(x, y).valid.all()
    for one in x:
        assert len(one.flatten(1).unique(dim=0)) == 30


def test_one_pool_serves_every_call(problem):
    problem = problem()
    y = conditions(problem, 3)
    sampler = Rejection(problem, 5_000, seed=4)
    whole, parts = draw(sampler, y, 30), [draw(sampler, one[None], 30, seed=1) for one in y]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, draw(Rejection(problem, 5_000, seed=5), y, 30))


def test_a_small_pool_gives_what_it_accepts_and_then_the_nearest(problem):
    problem = problem()
    y = conditions(problem, 6)
    draws = 60
    x = draw(Rejection(problem, 1_000), y, draws)
    check = problem.check(x, y)
    accepted = check.valid.sum(1)
    assert accepted.min() < draws
    from cvae.problems.reference import _pool

    pool = problem.geometry.to_lines(
        torch.cat([part for part, _ in _pool(problem, stream(0, REJECTION), 1_000, y.device)])
    )
    for index, one in enumerate(x):
        assert len(one.flatten(1).unique(dim=0)) == draws
        everything = problem.check(pool[None], y[index : index + 1])
        count = int(accepted[index])
        assert count == min(int(everything.valid.sum()), draws)
        assert check.valid[index, :count].all()
        misfits = everything.misfit[0][~everything.valid[0]].sort().values
        torch.testing.assert_close(
            check.misfit[index, count:].sort().values, misfits[: draws - count], rtol=1e-3, atol=1e-4
        )


def test_a_pool_smaller_than_the_draws_is_refused(problem):
    problem = problem()
    with pytest.raises(ValueError, match="a pool of 20 simulations holds 20 of 30 draws"):
        draw(Rejection(problem, 20), conditions(problem, 2), 30)


@pytest.mark.skipif(importlib.util.find_spec("sbi") is not None, reason="sbi is installed")
def test_without_sbi_the_message_names_the_extra(problem):
    from cvae.baselines.npe import NPE

    with pytest.raises(ImportError, match=r"needs the package sbi: pip install 'cvae\[bench\]'"):
        NPE(problem())
