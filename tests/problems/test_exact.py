import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from cvae.problems.exact import PhaseCondition, phase_conditions, phase_solutions, product_family
from cvae.problems.reference import merge, reference_sets

BIRDS = {
    "two_birds": ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"],
    "two_birds_low": ["sin(5*x0 + 3*x1)", "cos(4*x0 + 8*x1)"],
    "two_birds_mixed": ["cos(49*x0 + 63*x1)", "cos(4*x0 + 8*x1)"],
}


def brute_force(known):
    """Solutions of two_birds_low by a grid over all endpoints, its best cells polished by scipy."""
    t = np.linspace(0, 1, 50)

    def f(theta, t):
        a, b, c, d = (value[..., None] for value in np.moveaxis(theta, -1, 0))
        x0, x1 = a + (b - a) * t, c + (d - c) * t
        return np.concatenate([np.sin(5 * x0 + 3 * x1), np.cos(4 * x0 + 8 * x1)], axis=-1)

    ticks = np.linspace(0, 1, 15)
    pairs = np.array(list(itertools.combinations(ticks, 2)))
    first, second = np.meshgrid(np.arange(len(pairs)), np.arange(len(pairs)), indexing="ij")
    grid = np.concatenate([pairs[first.ravel()][:, ::-1], pairs[second.ravel()]], axis=1)
    coarse = np.linspace(0, 1, 6)
    far = np.abs(f(grid, coarse) - f(known, coarse)).max(1)
    found = []
    for start in grid[far < np.sort(far)[100]]:
        fit = least_squares(lambda v: f(v, t) - f(known, t), start, bounds=(0, 1), x_scale="jac")
        theta = fit.x.reshape(2, 2)
        ordered = theta[0, 0] > theta[0, 1] and theta[1, 0] < theta[1, 1]
        if fit.cost < 1e-8 and ordered and all(np.abs(theta - other).max() > 1e-3 for other in found):
            found.append(theta)
    return np.array(found)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_phase_solutions_are_those_of_a_grid(problem, seed):
    low = problem(*BIRDS["two_birds_low"])
    known = low.geometry.sample(1, torch.Generator().manual_seed(seed))[0]
    found = phase_solutions(low.geometry, phase_conditions(low), known).double().numpy()
    expected = brute_force(known.double().flatten().numpy())
    assert len(found) == len(expected)
    for one in expected:
        assert np.abs(found - one).max((1, 2)).min() < 1e-3


@pytest.mark.parametrize("name", BIRDS)
@pytest.mark.parametrize("span", [1.0, 3.0])
def test_phase_solutions_solve_and_differ_and_hold_the_known_one(problem, generator, name, span):
    problem = problem(*BIRDS[name], range=[-span / 3, 2 * span / 3], pearson=0.8, rmse=0.1)
    conditions = phase_conditions(problem)
    counts = []
    for known in problem.geometry.sample(20, generator).double():
        found = phase_solutions(problem.geometry, conditions, known)
        counts.append(len(found))
        y = problem.forward(problem.geometry.to_lines(known))
        check = problem.check(problem.geometry.to_lines(found)[None], y[None])
        assert check.valid.all()
        assert check.misfit.max() < 1e-6
        assert (found - known).abs().amax((1, 2)).min() < 1e-9
        assert len(merge(found, torch.zeros(len(found)), 1e-6)) == len(found)
    assert max(counts) > 1


def test_phases_of_three_lines(problem, generator):
    problem = problem(
        "sin(9*x0 + 2*x2)", "cos(7*x1 - x0)", "cos(-(2*x1) + 8*x2)", directions=["falling", "rising", "rising"]
    )
    known = problem.geometry.sample(1, generator)[0].double()
    found = phase_solutions(problem.geometry, phase_conditions(problem), known)
    y = problem.forward(problem.geometry.to_lines(known))
    assert problem.check(problem.geometry.to_lines(found)[None], y[None]).valid.all()
    assert (found - known).abs().amax((1, 2)).min() < 1e-9


def test_the_solutions_of_one_wave_of_one_line(problem):
    # cos(4 pi x) on the rising line from 0.1 to 0.2: mirrored and shifted by half
    geometry = problem("x0", directions=["rising"]).geometry
    found = phase_solutions(geometry, [PhaseCondition("cos", (4 * np.pi,))], torch.tensor([[0.1, 0.2]]).double())
    # mirrored ones fall
    np.testing.assert_allclose(sorted(found[:, 0].tolist()), [[0.1, 0.2], [0.6, 0.7]])
    falling = problem("x0", directions=["falling"]).geometry
    mirrored = phase_solutions(falling, [PhaseCondition("cos", (4 * np.pi,))], torch.tensor([[0.1, 0.2]]).double())
    np.testing.assert_allclose(sorted(mirrored[:, 0].tolist()), [[0.4, 0.3], [0.9, 0.8]])


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (["cos(2*x0 + x1*3)", "sin(-x0 - 4*x1)"], [("cos", (2, 3), 0), ("sin", (-1, -4), 0)]),
        (["cos(2*(x0 + 3*x1) - x1)", "cos(x1)"], [("cos", (2, 5), 0), ("cos", (0, 1), 0)]),
        (["sin(x0 - x0 + x1)", "sin(2*3*x0)"], [("sin", (0, 1), 0), ("sin", (6, 0), 0)]),
        (["cos(x0 + 1)", "cos(x1)"], [("cos", (1, 0), 1), ("cos", (0, 1), 0)]),
        (["cos(x0 + t)", "cos(x1)"], None),
        (["cos(x0 * x1)", "cos(x1)"], None),
        (["cos(x0**2)", "cos(x1)"], None),
        (["2 * cos(x0)", "1 - cos(x1) / 3"], [("cos", (1, 0), 0), ("cos", (0, 1), 0)]),
        (["tan(x0)", "cos(x1)"], None),
        (["cos(x0 + x1)", "sin(2*x0 + 2*x1)"], None),
        (["cos(x0 + 2*x1)"], None),
    ],
)
def test_phases_are_read_from_expressions(problem, forward, expected):
    assert phase_conditions(problem(*forward)) == expected


def test_a_callable_has_no_phases(problem):
    from cvae.problems import CallableForward, Problem

    plain = problem(*BIRDS["two_birds"])
    forward = CallableForward(plain.forward, {"_target_": "here"}, plain.geometry)
    assert phase_conditions(plain) is not None
    assert phase_conditions(Problem(plain.geometry, forward, plain.gates)) is None


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [([(1.0, 2.0)], "1 conditions for 2 lines"), ([(1.0, 2.0), (2.0, 4.0)], "depend on each other")],
)
def test_phases_that_leave_a_continuum_are_refused(problem, coefficients, message):
    conditions = [PhaseCondition("cos", each) for each in coefficients]
    with pytest.raises(ValueError, match=message):
        phase_solutions(problem().geometry, conditions, torch.rand(2, 2))


def test_the_product_family_is_valid_from_end_to_end(problem, generator):
    problem = problem()
    for known in problem.geometry.sample(20, generator).clamp(min=0.01):
        family = product_family(problem.geometry, known, 15)
        y = problem.forward(problem.geometry.to_lines(known))
        check = problem.check(problem.geometry.to_lines(family)[None], y[None])
        assert check.valid.all()
        assert check.misfit.max() < 1e-6
        # at its ends one of the lines touches the top
        assert family[0, 1].max().item() == pytest.approx(1)
        assert family[-1, 0].max().item() == pytest.approx(1)


@pytest.mark.parametrize("seed", [1, 2])
def test_constants_and_amplitudes_change_no_count(problem, seed):
    problem = problem("-3*cos(9*x0 + 14*x1 + 1) - 0.5", "sin(4*pi*x0/1.5 + 7*x1 - pi/5) / 2 + 1", pearson=0.8, rmse=0.1)
    known = problem.geometry.sample(1, torch.Generator().manual_seed(seed))
    conditions = phase_conditions(problem)
    assert conditions[0].constant == 1
    assert conditions[1].coefficients == pytest.approx((4 * np.pi / 1.5, 7))
    found = phase_solutions(problem.geometry, conditions, known[0])
    y = problem.forward(problem.geometry.to_lines(known))
    check = problem.check(problem.geometry.to_lines(found)[None], y)
    assert check.misfit.max() < 1e-5
    # the search knows nothing of phases
    (searched,) = reference_sets(problem, y, pool=200_000, starts=500)
    assert len(searched.endpoints) == len(found) > 1
    for one in searched.endpoints:
        assert (found - one).abs().amax((1, 2)).min() < 5e-3


@pytest.mark.parametrize("text", ["0*cos(4*x0 + 8*x1)", "x0*cos(4*x0 + 8*x1)", "1/cos(4*x0 + 8*x1)", "cos(t + x0)"])
def test_other_expressions_are_no_phases(problem, text):
    assert phase_conditions(problem(text, "cos(x0 - x1)")) is None
