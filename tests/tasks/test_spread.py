"""The spread of y and what goes with it, compared with numpy and with known distributions."""

import numpy as np
import pytest
import torch

from cvae.tasks.spread import accepted_share, flat_share, prior_conditions, singularity, spread


def product(count=40_000):
    """Curves x0 * x1 of the prior, with numpy's own random numbers."""
    rng, t = np.random.default_rng(0), np.linspace(0, 1, 50)
    ends = np.sort(rng.random((count, 2, 2)), axis=-1)
    falling, rising = ends[:, 0, ::-1], ends[:, 1]
    lines = [pair[:, :1] + (pair[:, 1:] - pair[:, :1]) * t for pair in (falling, rising)]
    return lines[0] * lines[1]


def test_spread_of_curves_is_that_of_numpy(problem):
    y = product()
    assert problem().spread == pytest.approx([np.sqrt(((y - y.mean(0)) ** 2).mean())], rel=0.05)


def test_each_condition_has_the_standard_deviation_of_its_distribution(vector_problem):
    found = vector_problem("x0", "100 * x1", "x0**2", bounds=[[0, 2], [-1, 1]]).spread
    # uniform on [0, 2] and on [-100, 100]; of the square of the first, E x^4 - (E x^2)^2
    assert found == pytest.approx([2 / 12**0.5, 200 / 12**0.5, (16 / 5 - 16 / 9) ** 0.5], rel=0.05)


def test_spread_is_the_misfit_of_the_mean(problem):
    one = problem("x0 * x1", "cos(4*x0)")
    y = prior_conditions(one)
    errors = (y.numpy() - y.numpy().mean(0)) ** 2
    np.testing.assert_allclose(one.spread, np.sqrt(errors.mean((0, 2))), rtol=1e-4)


def test_spread_leaves_out_what_is_not_finite(vector_problem):
    found = vector_problem("x0 + 0*log(x1)", bounds=[[0, 1], [-1, 1]]).spread
    assert found == pytest.approx([12**-0.5], rel=0.05)
    assert np.isnan(vector_problem("log(x0 - 5)").spread[0])


def test_flat_share_is_that_of_numpy(problem):
    y, gate = product(), 0.05
    within = np.sqrt(((y - y.mean(-1, keepdims=True)) ** 2).mean(-1))
    expected = np.mean(within < gate)
    assert 0.6 < expected < 0.7
    assert flat_share(prior_conditions(problem()), gate).tolist() == pytest.approx([expected], abs=0.03)


@pytest.mark.parametrize(
    ("forward", "singular"),
    [
        ("x0", False),
        ("exp(20*x0)", False),
        ("maximum(x0 - 0.98, 0)", False),
        ("1 / x0", True),
        ("x1 / (x0 - 0.3)", True),
    ],
)
def test_poles_are_told_from_steep_functions(vector_problem, forward, singular):
    y = prior_conditions(vector_problem(forward, bounds=[[0, 1], [0, 1]]))
    (found,) = singularity(y).tolist()
    # from 0.49 to 1 and from 0.04 to 0.17 with eight seeds
    assert found > 0.4 if singular else found < 0.2


def test_a_constant_has_no_spread_and_no_pole():
    y = torch.full((100, 1, 5), 3.0)
    assert spread(y).tolist() == singularity(y).tolist() == [0.0]


@pytest.mark.parametrize(("gate", "expected"), [(0.1, 0.19), (0.5, 0.75), (1.0, 1.0)])
def test_the_accepted_share_is_that_of_uniform_numbers(vector_problem, gate, expected):
    """Two uniform numbers differ by less than g with probability 1 - (1 - g)^2."""
    problem = vector_problem("x0", bounds=[[0, 1], [0, 1]]).judged_by({"rmse": gate})
    assert accepted_share(problem) == pytest.approx(expected, abs=0.02)


def test_a_solution_must_pass_all_gates(vector_problem):
    """Of two independent conditions, both pass with the product of the probabilities."""
    both = vector_problem("x0", "x1", bounds=[[0, 1], [0, 1]]).judged_by({"rmse": 0.5})
    assert accepted_share(both) == pytest.approx(0.75**2, abs=0.03)
