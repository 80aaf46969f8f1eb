import pytest
import torch
from scipy import stats

from cvae.generation.refine import refine_draws
from cvae.tasks import CallableForward, Problem

BIRDS = ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"]


def drawn(problem, count, draws, generator, near=0.0):
    """Conditions, and for each of them draws of the prior or, with ``near``, disturbed, bent copies of a solution."""
    space = problem.space
    known = space.sample(count, generator)
    y = problem.forward(space.decode(known))
    if near:
        copies = space.decode(known).unsqueeze(1).expand(-1, draws, -1, -1)
        noise = near * torch.randn(copies.shape, generator=generator)
        x = copies + noise * torch.rand(count, draws, 1, 1, generator=generator)
    else:
        x = space.decode(space.sample(count * draws, generator)).unflatten(0, (count, draws))
    return x, y, problem.check(x, y)


@pytest.mark.parametrize("forward", [["x0 * x1"], ["x0 + x1"], ["x0 / (x1 + 0.5)"], ["tanh(50*(x0 - x1))"]])
def test_on_a_continuum_valid_draws_are_left_alone_and_the_others_mostly_mended(problem, generator, forward):
    problem = problem(*forward)
    x, y, check = drawn(problem, 5, 200, generator)
    near, _, near_check = drawn(problem, 5, 200, torch.Generator().manual_seed(0), near=0.1)
    for before, verdict in ((x, check), (near, near_check)):
        after, evaluations = refine_draws(problem, before, y, verdict, 15, generator, exact=False)
        assert verdict.valid.any()
        assert torch.equal(after[verdict.valid], before[verdict.valid])
        then = problem.check(after, y)
        assert then.valid[verdict.valid].all()
        assert then.valid.sum() > 0.5 * then.valid.numel() > verdict.valid.sum()
        assert evaluations > 0


def test_mended_draws_have_misfits_uniform_below_the_gate(problem, generator):
    problem = problem()
    x, y, check = drawn(problem, 10, 400, generator)
    after, _ = refine_draws(problem, x, y, check, 30, generator, exact=False)
    then = problem.check(after, y)
    mended = ~check.valid & then.valid
    assert mended.sum() > 1_000
    share = then.misfit[mended].double().numpy() / 0.05
    assert stats.kstest(share, stats.uniform(0, 0.98).cdf).pvalue > 0.01


@pytest.mark.parametrize("near", [0.0, 0.02])
@pytest.mark.parametrize("forward", [["x0 * x1"], BIRDS, ["x0 / x1"]])
@pytest.mark.parametrize("exact", [True, False])
def test_no_valid_draw_becomes_worse(problem, generator, forward, near, exact):
    problem = problem(*forward, pearson=0.8, rmse=0.1)
    x, y, check = drawn(problem, 5, 100, generator, near)
    after, _ = refine_draws(problem, x, y, check, 10, generator, exact)
    then = problem.check(after, y)
    assert then.valid[check.valid].all()
    assert (then.misfit <= check.misfit)[check.valid].all()
    straight = problem.space.decode(problem.space.project(problem.space.encode(x)))
    assert (then.misfit <= problem.misfit(straight, y.unsqueeze(1)) + 1e-6)[~check.valid].all()
    assert after.isfinite().all()


def test_separate_solutions_are_met_exactly(problem, generator):
    problem = problem(*BIRDS, pearson=0.8, rmse=0.1)
    x, y, check = drawn(problem, 5, 100, generator, near=0.01)
    after, _ = refine_draws(problem, x, y, check, 15, generator, exact=True)
    then = problem.check(after, y)
    assert check.misfit.median() > 0.05
    assert (then.misfit < 1e-3).float().mean() > 0.8


def test_copies_of_a_draw_are_refined_once(problem, generator):
    problem = problem(*BIRDS, pearson=0.8, rmse=0.1)
    x, y, check = drawn(problem, 3, 4, generator, near=0.01)
    once, evaluations = refine_draws(problem, x, y, check, 15, generator, exact=True)
    copies = torch.tensor([0, 1, 0, 2, 3, 3, 1])
    often, same = refine_draws(problem, x[:, copies], y, check.at((slice(None), copies)), 15, generator, exact=True)
    torch.testing.assert_close(often, once[:, copies], rtol=0, atol=1e-5)
    # all that differ are as many; the rest is a check of each
    assert same - evaluations == 3 * (7 - 4)


def test_a_valid_draw_does_not_become_constant(problem, generator):
    # the best line within the slope order is constant, which is no valid line
    problem = problem("x0", directions=["rising"])
    y = torch.linspace(0.52, 0.48, 50).view(1, 1, 50)
    x = torch.linspace(0.49, 0.51, 50).view(1, 1, 1, 50)
    check = problem.check(x, y)
    assert check.valid.all()
    after, _ = refine_draws(problem, x, y, check, 15, generator, exact=True)
    assert problem.check(after, y).valid.all()


def test_no_steps_or_nothing_to_mend_change_nothing(problem, generator):
    problem = problem()
    x, y, check = drawn(problem, 3, 20, generator)
    assert refine_draws(problem, x, y, check, 0, generator, exact=True) == (x, 0)
    good = check._replace(valid=torch.ones_like(check.valid))
    assert refine_draws(problem, x, y, good, 5, generator, exact=False) == (x, 0)


def test_functions_that_are_not_pointwise(problem, generator):
    plain = problem()
    forward = CallableForward(
        lambda x: (x[..., :1, :] * x[..., 1:, :]).cumsum(-1) / 20, {"_target_": "here"}, plain.space
    )
    problem = Problem(plain.space, forward, plain.gates)
    x, y, check = drawn(problem, 4, 50, generator)
    after, _ = refine_draws(problem, x, y, check, 15, generator, exact=False)
    assert problem.check(after, y).valid.float().mean() > 0.9 > check.valid.float().mean()


@pytest.mark.parametrize("forward", [["minimum(x0, x1)"], ["sin(6*x0) * x1"], ["x0 + x1"]])
def test_hardly_a_refined_draw_has_the_right_misfit_but_the_wrong_slope(problem, generator, forward):
    problem = problem(*forward)
    x, y, check = drawn(problem, 10, 300, generator)
    after, _ = refine_draws(problem, x, y, check, 15, generator, exact=False)
    then = problem.check(after, y)
    right = then.misfit < problem.gates.rmse
    assert right.float().mean() > 0.5
    assert (right & ~then.valid).float().mean() < 0.01
