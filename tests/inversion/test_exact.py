import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares, root

from cvae.inversion import Budget, reference_sets
from cvae.inversion.exact import PhaseCondition, phase_conditions, phase_solutions
from cvae.tasks import CallableForward, Problem

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
        theta = fit.x
        ordered = theta[0] > theta[1] and theta[2] < theta[3]
        if fit.cost < 1e-8 and ordered and all(np.abs(theta - other).max() > 1e-3 for other in found):
            found.append(theta)
    return np.array(found)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_phase_solutions_are_those_of_a_grid(problem, seed):
    low = problem(*BIRDS["two_birds_low"])
    known = low.space.sample(1, torch.Generator().manual_seed(seed))[0]
    found = phase_solutions(low.space, phase_conditions(low), known).double().numpy()
    expected = brute_force(known.double().numpy())
    assert len(found) == len(expected)
    for one in expected:
        assert np.abs(found - one).max(1).min() < 1e-3


@pytest.mark.parametrize("name", BIRDS)
@pytest.mark.parametrize("span", [1.0, 3.0])
def test_phase_solutions_solve_and_differ_and_hold_the_known_one(problem, generator, name, span):
    problem = problem(*BIRDS[name], range=[-span / 3, 2 * span / 3], pearson=0.8, rmse=0.1)
    conditions = phase_conditions(problem)
    counts = []
    for known in problem.space.sample(20, generator).double():
        found = phase_solutions(problem.space, conditions, known)
        counts.append(len(found))
        y = problem.forward(problem.space.decode(known))
        check = problem.check(problem.space.decode(found)[None], y[None])
        assert check.valid.all()
        assert check.misfit.max() < 1e-6
        assert (found - known).abs().amax(1).min() < 1e-9
        assert torch.cdist(found, found).fill_diagonal_(1).min() > 1e-6
    assert max(counts) > 1


def test_phases_of_three_lines(problem, generator):
    problem = problem(
        "sin(9*x0 + 2*x2)", "cos(7*x1 - x0)", "cos(-(2*x1) + 8*x2)", directions=["falling", "rising", "rising"]
    )
    known = problem.space.sample(1, generator)[0].double()
    found = phase_solutions(problem.space, phase_conditions(problem), known)
    y = problem.forward(problem.space.decode(known))
    assert problem.check(problem.space.decode(found)[None], y[None]).valid.all()
    assert (found - known).abs().amax(1).min() < 1e-9


def test_the_solutions_of_one_wave_of_one_line(problem):
    # cos(4 pi x) on the rising line from 0.1 to 0.2: mirrored and shifted by half
    space = problem("x0", directions=["rising"]).space
    found = phase_solutions(space, [PhaseCondition("cos", (4 * np.pi,))], torch.tensor([0.1, 0.2]).double())
    # mirrored ones fall
    np.testing.assert_allclose(sorted(found.tolist()), [[0.1, 0.2], [0.6, 0.7]])
    falling = problem("x0", directions=["falling"]).space
    mirrored = phase_solutions(falling, [PhaseCondition("cos", (4 * np.pi,))], torch.tensor([0.1, 0.2]).double())
    np.testing.assert_allclose(sorted(mirrored.tolist()), [[0.4, 0.3], [0.9, 0.8]])


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
    plain = problem(*BIRDS["two_birds"])
    forward = CallableForward(plain.forward, {"_target_": "here"}, plain.space)
    assert phase_conditions(plain) is not None
    assert phase_conditions(Problem(plain.space, forward, plain.gates)) is None


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [([(1.0, 2.0)], "1 conditions for 2 variables"), ([(1.0, 2.0), (2.0, 4.0)], "depend on each other")],
)
def test_phases_that_leave_a_continuum_are_refused(problem, coefficients, message):
    conditions = [PhaseCondition("cos", each) for each in coefficients]
    with pytest.raises(ValueError, match=message):
        phase_solutions(problem().space, conditions, torch.rand(4))


def test_the_product_family_is_valid_from_end_to_end(problem, product_family, generator):
    problem = problem()
    for known in problem.space.sample(20, generator).clamp(min=0.01):
        found = product_family(problem.space, known, 15)
        y = problem.forward(problem.space.decode(known))
        check = problem.check(problem.space.decode(found)[None], y[None])
        assert check.valid.all()
        assert check.misfit.max() < 1e-6
        # at its ends one of the lines touches the top
        assert found[0, 2:].max().item() == pytest.approx(1)
        assert found[-1, :2].max().item() == pytest.approx(1)


@pytest.mark.parametrize("seed", [1, 2])
def test_constants_and_amplitudes_change_no_count(problem, seed):
    problem = problem("-3*cos(9*x0 + 14*x1 + 1) - 0.5", "sin(4*pi*x0/1.5 + 7*x1 - pi/5) / 2 + 1", pearson=0.8, rmse=0.1)
    known = problem.space.sample(1, torch.Generator().manual_seed(seed))
    conditions = phase_conditions(problem)
    assert conditions[0].constant == 1
    assert conditions[1].coefficients == pytest.approx((4 * np.pi / 1.5, 7))
    found = phase_solutions(problem.space, conditions, known[0])
    y = problem.forward(problem.space.decode(known))
    check = problem.check(problem.space.decode(found)[None], y)
    assert check.misfit.max() < 1e-5
    # the search knows nothing of phases
    (searched,) = reference_sets(problem, y, budget=Budget(60_000, starts=200))
    assert len(searched.theta) == len(found) > 1
    for one in searched.theta:
        assert (found - one).abs().amax(1).min() < 5e-3


@pytest.mark.parametrize("text", ["0*cos(4*x0 + 8*x1)", "x0*cos(4*x0 + 8*x1)", "1/cos(4*x0 + 8*x1)", "cos(t + x0)"])
def test_other_expressions_are_no_phases(problem, text):
    assert phase_conditions(problem(text, "cos(x0 - x1)")) is None


# --- vectors


def brute_force_of_box(f, known, bounds, ticks):
    """Solutions of f(x) = f(known) in a box: a grid, polished by a root finder of scipy from each of its cells."""
    axes = [np.linspace(low, high, ticks) for low, high in bounds]
    low, high = np.array(bounds).T
    found = []
    for start in np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(bounds)):
        fit = root(lambda x: f(x) - f(known), start)
        inside = (fit.x > low - 1e-9).all() and (fit.x < high + 1e-9).all()
        if fit.success and inside and all(np.abs(fit.x - other).max() > 1e-5 for other in found):
            found.append(fit.x)
    return np.array(found)


PHASES_OF_VECTORS = {
    "separate": (["sin(9*x0)", "cos(7*x1)"], [[-1, 1], [0, 1]], lambda x: [np.sin(9 * x[0]), np.cos(7 * x[1])]),
    "mixed": (
        ["2*cos(6*x0 + 3*x1) - 1", "sin(2*x0 - 5*x1 + pi/4)"],
        [[-1, 1], [-1, 1]],
        lambda x: [2 * np.cos(6 * x[0] + 3 * x[1]) - 1, np.sin(2 * x[0] - 5 * x[1] + np.pi / 4)],
    ),
    "badly scaled": (
        ["cos(9*x0 + x1/200)", "sin(x1/100 - 2*x0)"],
        [[0, 1], [0, 1000]],
        lambda x: [np.cos(9 * x[0] + x[1] / 200), np.sin(x[1] / 100 - 2 * x[0])],
    ),
}


@pytest.mark.parametrize("name", PHASES_OF_VECTORS)
@pytest.mark.parametrize("seed", [0, 1])
def test_phase_solutions_of_a_box_are_those_of_brute_force(vector_problem, name, seed):
    forward, bounds, f = PHASES_OF_VECTORS[name]
    problem = vector_problem(*forward, bounds=bounds)
    known = problem.space.sample(1, torch.Generator().manual_seed(seed))[0].double()
    found = phase_solutions(problem.space, phase_conditions(problem), known)
    expected = brute_force_of_box(lambda x: np.array(f(x)), known.numpy(), bounds, 15)
    assert len(found) == len(expected) > 1
    span = problem.space.span(known).numpy()
    for one in expected:
        assert (np.abs(found.numpy() - one) / span).max(1).min() < 1e-6
    check = problem.check(found[None], problem.forward(known)[None])
    assert check.valid.all()
    assert check.misfit.max() < 1e-9


def test_phases_of_three_parameters(vector_problem, generator):
    problem = vector_problem("sin(9*x0 + 2*x2)", "cos(7*x1 - x0)", "cos(8*x2 - 2*x1)", bounds=[[-1, 1], [0, 2], [0, 1]])
    for known in problem.space.sample(5, generator).double():
        found = phase_solutions(problem.space, phase_conditions(problem), known)
        assert problem.check(found[None], problem.forward(known)[None]).misfit.max() < 1e-9
        assert torch.cdist(found, found).fill_diagonal_(1).min() > 1e-6
        assert (found - known).abs().amax(1).min() < 1e-9


def test_a_vector_of_one_parameter_has_its_two_mirrored_solutions(vector_problem):
    space = vector_problem("cos(2*pi*x0)", bounds=[[0, 1]]).space
    found = phase_solutions(space, [PhaseCondition("cos", (2 * np.pi,))], torch.tensor([0.1]).double())
    np.testing.assert_allclose(sorted(found[:, 0].tolist()), [0.1, 0.9])


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (["sin(3*pi*x0)", "cos(3*pi*x1)"], True),
        (["sin(3*pi*x0) + cos(3*pi*x1)"], False),
        (["sin(3*pi*x0) + cos(3*pi*x1)", "cos(x0)"], False),
        (["cos(x0)"], False),
        (["cos(x0)", "sin(x1)", "cos(x0 + x1)"], False),
    ],
)
def test_which_vectors_have_phases(vector_problem, forward, expected):
    assert (phase_conditions(vector_problem(*forward)) is not None) is expected
