import itertools
import logging
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, root

from cvae.inversion import (
    Budget,
    ReferenceSet,
    cached_reference_sets,
    has_isolated_solutions,
    merge,
    reference,
    reference_sets,
    search_simulations,
)
from cvae.seeds import Purpose, stream
from cvae.tasks import CallableForward, Problem, line_problem

BIRDS = {
    "two_birds": ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"],
    "two_birds_low": ["sin(5*x0 + 3*x1)", "cos(4*x0 + 8*x1)"],
    "two_birds_mixed": ["cos(49*x0 + 63*x1)", "cos(4*x0 + 8*x1)"],
}


def general(problem, function):
    forward = CallableForward(function, {"_target_": "here"}, problem.space)
    return Problem(problem.space, forward, problem.gates)


def cumulative(x):
    """Each point of y depends on all points of x before it."""
    return (x[..., :1, :] * x[..., 1:2, :]).cumsum(-1) / x.shape[-1]


def conditions(problem, count, generator):
    """Known solutions and their conditions."""
    known = problem.space.sample(count, generator)
    return known, problem.forward(problem.space.decode(known))


def simulations_of(problem, seed, count):
    generator = stream(Purpose.REFERENCE_POOL, seed)
    return torch.cat([theta for theta, _ in reference._simulated(problem, generator, count, torch.device("cpu"))])


def valid(problem, theta, y):
    return problem.check(problem.space.decode(theta)[None], y[None]).valid[0]


@pytest.mark.parametrize("name", BIRDS)
@pytest.mark.parametrize("span", [1.0, 0.01])
def test_the_search_finds_exactly_the_enumerated_solutions(problem, generator, name, span):
    # the same problem on a range of another width has the same solutions, scaled
    scaled = [text.replace("*x", f"/{span}*x") for text in BIRDS[name]]
    problem = problem(*scaled, range=[0.0, span], pearson=0.8, rmse=0.1)
    known, y = conditions(problem, 4 if span == 1 else 2, generator)
    searched = reference_sets(problem, y, budget=Budget(60_000, starts=400))
    exact = reference_sets(problem_of_unit(BIRDS[name]), y, known=known / span)
    assert max(len(each.theta) for each in exact) > 1
    for found, all_of_them in zip(searched, exact, strict=True):
        assert found.finite
        assert all_of_them.finite
        assert len(found.theta) == len(all_of_them.theta)
        distance = (found.theta[:, None] / span - all_of_them.theta).abs().amax(2)
        assert distance.amin(0).max() < 1e-3
        assert distance.amin(1).max() < 1e-3


def problem_of_unit(forward):
    return line_problem(50, ["falling", "rising"], [0, 1], forward, {"pearson": 0.8, "rmse": 0.1})


def inside_hull(point, cloud):
    """Whether a point is a convex combination of others (a linear programme)."""
    equal = np.vstack([cloud.T, np.ones(len(cloud))])
    return linprog(np.zeros(len(cloud)), A_eq=equal, b_eq=np.append(point, 1), method="highs").status == 0


def test_the_reference_set_of_product_holds_its_scale_family(problem, product_family):
    problem = problem()
    known = torch.tensor([0.8, 0.3, 0.4, 0.7])
    y = problem.forward(problem.space.decode(known))
    (found,) = reference_sets(problem, y[None], budget=Budget(100_000, kept=1_000))
    assert not found.finite
    assert len(found.theta) == 1_000
    assert valid(problem, found.theta, y).all()
    cloud = found.theta.double().numpy()
    # its two ends lie on the border of the range, where no sample reaches
    family = product_family(problem.space, known, 12)[1:-1].double().numpy()
    assert all(inside_hull(point, cloud) for point in family)
    # the hull is no excuse: it leaves out what misses the condition
    assert not inside_hull(np.array([0.9, 0.8, 0.8, 0.9]), cloud)


@pytest.mark.parametrize("forward", [["x0 * x1"], ["x0 / x1"], ["x0 * x1", "x0 + x1**2"], ["1000 * x0 * x1"]])
@pytest.mark.parametrize("block", [500, 10_000])
def test_simulations_are_searched_as_one_by_one(problem, generator, monkeypatch, forward, block):
    monkeypatch.setattr(reference, "BLOCK", block)
    problem = problem(*forward, rmse=0.05 if forward[0][0] == "x" else 50)
    _, y = conditions(problem, 5, generator)
    found = search_simulations(problem, y, 10**6, 40, stream(Purpose.REFERENCE_POOL, 3), 2_300)
    pool = simulations_of(problem, 3, 2_300)
    assert len(pool) == 2_300
    for target, accepted, nearest in zip(y, found.accepted, found.nearest, strict=True):
        assert torch.equal(accepted, pool[valid(problem, pool, target)])
        misfit = problem.misfit(problem.space.decode(pool), target)
        expected = misfit.sort().values[:40]
        own = problem.misfit(problem.space.decode(nearest), target).sort().values
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))
    assert sum(len(accepted) for accepted in found.accepted) > 0


def test_a_condition_that_has_enough_leaves_the_others_in_place(problem, generator, monkeypatch):
    # more of the nearest than a block holds, and conditions that end after different blocks
    monkeypatch.setattr(reference, "BLOCK", 100)
    problem = problem()
    _, y = conditions(problem, 6, generator)
    found = search_simulations(problem, y, 3, 250, generator, 3_000)
    sizes = {len(nearest) for nearest in found.nearest}
    assert len(sizes) > 1
    for target, accepted, nearest in zip(y, found.accepted, found.nearest, strict=True):
        assert valid(problem, accepted, target).all()
        inside = set(map(tuple, nearest.tolist()))
        assert inside >= set(map(tuple, accepted.tolist()))


def test_near_a_pole_no_simulation_is_lost_to_rounding(problem, generator, monkeypatch):
    problem = problem("x0 / x1")
    known, _ = conditions(problem, 30, generator)
    known[0] = torch.tensor([0.9, 0.5, 0.001, 0.8])
    y = problem.forward(problem.space.decode(known))
    assert y[0].max() > 500
    around = known[0] * (1 + 2e-3 * (torch.rand(4_000, 4, generator=generator) - 0.5))
    monkeypatch.setattr(
        reference, "_simulated", lambda *_: iter([(around, problem.forward(problem.space.decode(around)))])
    )
    accepted = search_simulations(problem, y, 10**6, 5, generator, 4_000).accepted[0]
    expected = around[valid(problem, around, y[0])]
    assert 100 < len(expected) < 4_000
    assert torch.equal(accepted, expected)


def test_a_thin_accepted_set_is_completed_by_refined_starts(problem, generator):
    problem = problem("sin(30*x0*x1)")
    _, y = conditions(problem, 3, generator)
    pool = simulations_of(problem, 0, 5_000)
    for target, found in zip(y, reference_sets(problem, y, budget=Budget(5_000, starts=1_000, kept=500)), strict=True):
        assert not found.finite
        assert valid(problem, found.theta, target).all()
        assert 2 * valid(problem, pool, target).sum() < 237 <= len(found.theta) <= 250


@pytest.mark.parametrize(
    ("forward", "isolated"),
    [
        (["x0 * x1"], False),
        (["x0 + x1"], False),
        (["x0 / x1"], False),
        (["sin(30*x0*x1)"], False),
        (["maximum(x0 - 0.5, 0) * x1"], False),
        (["tanh(50*(x0 - x1))"], False),
        (["0.3"], False),
        (["x0", "x1"], True),
        (["sin(10*x0)", "cos(12*x1)"], True),
        *((forward, True) for forward in BIRDS.values()),
    ],
)
def test_whether_solutions_are_isolated(problem, forward, isolated):
    assert has_isolated_solutions(problem(*forward)) is isolated
    assert has_isolated_solutions(problem(*forward, points=200)) is isolated


def test_a_callable_with_constants_of_its_own_number_format(problem, generator):
    kernel = torch.rand(50, 50, generator=generator) / 50
    smoothed = general(problem(), lambda x: (x[..., :1, :] * x[..., 1:, :]) @ kernel)
    assert has_isolated_solutions(smoothed) is False
    _, y = conditions(smoothed, 2, generator)
    for target, found in zip(y, reference_sets(smoothed, y, budget=Budget(5_000, 100, 50)), strict=True):
        assert len(found.theta) >= 50
        assert valid(smoothed, found.theta, target).all()


def test_functions_that_are_not_pointwise(problem, generator):
    both = general(problem(rmse=0.01), lambda x: torch.cat([cumulative(x), cumulative(x + 1)], dim=-2))
    for each in (general(problem(), cumulative), both):
        _, y = conditions(each, 2, generator)
        for target, found in zip(y, reference_sets(each, y, budget=Budget(5_000, 200, 30)), strict=True):
            assert len(found.theta) > 0
            assert valid(each, found.theta, target).all()


@pytest.mark.parametrize(
    ("forward", "directions", "finite"),
    [
        (["x0 * x1 + x2"], ["falling", "rising", "rising"], False),
        (["sin(9*x0 + x2)", "cos(7*x1)", "cos(8*x2)"], ["falling", "rising", "rising"], True),
        (["cos(20*x0)"], ["falling"], True),
        (["tanh(x0)"], ["rising"], True),
    ],
)
def test_three_lines_and_one(problem, generator, forward, directions, finite):
    problem = problem(*forward, directions=directions)
    known, y = conditions(problem, 3, generator)
    searched = reference_sets(problem, y, budget=Budget(30_000, 150, 60))
    for one, target, found in zip(known, y, searched, strict=True):
        assert found.finite is finite
        assert found.theta.shape[1:] == (2 * len(directions),)
        assert valid(problem, found.theta, target).all()
        if finite:
            assert (found.theta - one).abs().amax(1).min() < 1e-3
        else:
            assert len(found.theta) >= 60


def test_the_seed_decides_the_simulations(problem, generator):
    problem = problem()
    _, y = conditions(problem, 2, generator)
    one, same, other = (reference_sets(problem, y, seed, Budget(5_000, kept=20)) for seed in (0, 0, 1))
    for first, second, third in zip(one, same, other, strict=True):
        assert torch.equal(first.theta, second.theta)
        assert not torch.equal(first.theta, third.theta)


@pytest.mark.parametrize("span", [1.0, 100.0])
def test_merging_keeps_the_best_of_each_cluster(problem, generator, span):
    problem = problem(range=[0, span])
    centres = torch.tensor([[0.9, 0.1, 0.1, 0.9], [0.5, 0.4, 0.2, 0.3], [0.5, 0.4, 0.2, 0.36]])
    near = span * (centres[:, None] + 0.002 * (torch.rand(3, 10, 4, generator=generator) - 0.5))
    misfit = torch.rand(3, 10, generator=generator)
    order = torch.randperm(30, generator=generator)
    found = merge(problem, near.flatten(0, 1)[order], misfit.flatten()[order])
    best = misfit.argmin(1)
    expected = near[torch.arange(3), best][misfit.amin(1).argsort()]
    assert torch.equal(found, expected)
    assert merge(problem, near[0, :0], misfit[0, :0]).shape == (0, 4)


@pytest.fixture
def searches(monkeypatch):
    """Counts how often reference sets are searched."""
    calls = []
    search = reference.reference_sets

    def counted(*args, **kwargs):
        calls.append(kwargs)
        return search(*args, **kwargs)

    monkeypatch.setattr(reference, "reference_sets", counted)
    return calls


SMALL = Budget(2_000, starts=50, kept=20)


def same(one, two):
    return all(torch.equal(a.theta, b.theta) and a.finite == b.finite for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("forward", [["x0 * x1"], BIRDS["two_birds_low"]])
def test_a_hit_of_the_cache_gives_the_same_sets(problem, generator, tmp_path, searches, forward):
    problem = problem(*forward)
    known, y = conditions(problem, 3, generator)
    for knowing in (None, known):
        searches.clear()
        first = cached_reference_sets(problem, y, tmp_path / "new" / "cache", knowing, SMALL)
        second = cached_reference_sets(problem, y, tmp_path / "new" / "cache", knowing, SMALL)
        assert len(searches) == 1
        assert same(first, second)
        assert all(isinstance(each, ReferenceSet) for each in second)


def test_whatever_changes_the_sets_is_a_miss(problem, generator, tmp_path, searches):
    plain = problem()
    known, y = conditions(plain, 3, generator)
    cached_reference_sets(plain, y, tmp_path, budget=SMALL)
    for other in (problem(rmse=0.04), problem(pearson=0.8), problem("x0 * x1 * 1"), problem(range=[0, 2])):
        cached_reference_sets(other, y, tmp_path, budget=SMALL)
    cached_reference_sets(plain, y[:2], tmp_path, budget=SMALL)
    cached_reference_sets(plain, y.flip(0), tmp_path, budget=SMALL)
    cached_reference_sets(plain, y, tmp_path, budget=SMALL._replace(simulations=1_999))
    cached_reference_sets(plain, y, tmp_path, budget=SMALL._replace(kept=10))
    cached_reference_sets(plain, y, tmp_path, known, SMALL)
    assert len(searches) == len(list(tmp_path.iterdir())) == 10
    cached_reference_sets(plain, y, None, budget=SMALL)
    assert len(searches) == 11
    assert len(list(tmp_path.iterdir())) == 10


@pytest.mark.parametrize("content", [b"", b"not a file of torch", "half", {"other": 1}])
def test_a_damaged_cache_is_searched_anew_and_mended(problem, generator, tmp_path, searches, caplog, content):
    problem = problem()
    _, y = conditions(problem, 2, generator)
    first = cached_reference_sets(problem, y, tmp_path, budget=SMALL)
    (path,) = tmp_path.iterdir()
    if isinstance(content, dict):
        torch.save(content, path)
    else:
        path.write_bytes(path.read_bytes()[:500] if content == "half" else content)
    assert same(cached_reference_sets(problem, y, tmp_path, budget=SMALL), first)
    assert len(searches) == 2
    assert "made anew" in caplog.text
    assert same(cached_reference_sets(problem, y, tmp_path, budget=SMALL), first)
    assert len(searches) == 2


def test_a_callable_from_a_config_is_cached_too(tmp_path, monkeypatch, generator, searches):
    module = ModuleType("functions_of_mine")
    module.cumulative = cumulative
    monkeypatch.setitem(sys.modules, "functions_of_mine", module)
    gates = {"pearson": 0.9, "rmse": 0.05}
    problem = line_problem(50, ["falling", "rising"], [0, 1], {"_target_": "functions_of_mine.cumulative"}, gates)
    _, y = conditions(problem, 2, generator)
    first = cached_reference_sets(problem, y, tmp_path, budget=SMALL)
    assert same(cached_reference_sets(problem, y, tmp_path, budget=SMALL), first)
    assert len(searches) == 1


# --- vectors


def vectors(problem, count, seed=0):
    """Known solutions and their conditions."""
    known = problem.space.sample(count, torch.Generator().manual_seed(seed))
    return known, problem.forward(known)


def assert_same_points(found, expected, tolerance=1e-3):
    """Two sets of points, in any order."""
    assert len(found) == len(expected)
    distance = (found.double()[:, None] - torch.as_tensor(expected).double()).abs().amax(2)
    assert distance.amin(0).max() < tolerance
    assert distance.amin(1).max() < tolerance


def test_a_circle_and_a_hyperbola_have_four_exact_points(vector_problem):
    problem = vector_problem("x0**2 + x1**2", "x0 * x1")
    known = torch.tensor([[0.8, 0.3], [-0.2, 0.9], [0.5, -0.6]])
    assert has_isolated_solutions(problem)
    sets = reference_sets(problem, problem.forward(known), budget=Budget(20_000, starts=200))
    for (a, b), found in zip(known.tolist(), sets, strict=True):
        assert found.finite
        assert_same_points(found.theta, [[a, b], [b, a], [-a, -b], [-b, -a]])


def test_points_are_those_of_a_root_finder_from_a_grid(vector_problem):
    problem = vector_problem("sin(3*x0) + x1**2", "cos(4*x1) - x0*x1")
    _, y = vectors(problem, 3)
    sets = reference_sets(problem, y, budget=Budget(20_000, starts=400))
    ticks = np.linspace(-1, 1, 13)
    counts = []
    for target, found in zip(y.double().numpy(), sets, strict=True):
        expected = []
        for start in itertools.product(ticks, ticks):
            fit = root(
                lambda x, target=target: [
                    np.sin(3 * x[0]) + x[1] ** 2 - target[0],
                    np.cos(4 * x[1]) - x[0] * x[1] - target[1],
                ],
                start,
            )
            if fit.success and np.abs(fit.x).max() <= 1 and all(np.abs(fit.x - e).max() > 1e-4 for e in expected):
                expected.append(fit.x)
        assert_same_points(found.theta, np.array(expected))
        counts.append(len(expected))
    assert max(counts) > 1


def test_curves_are_sampled_on_all_of_their_branches(vector_problem):
    problem = vector_problem("sin(3*pi*x0) + cos(3*pi*x1)")
    assert not has_isolated_solutions(problem)
    y = torch.tensor([[0.0], [1.2], [-1.5]])
    for target, found in zip(y, reference_sets(problem, y, budget=Budget(50_000, kept=2_000)), strict=True):
        assert not found.finite
        assert len(found.theta) > 500
        assert valid(problem, found.theta, target).all()
        # the pattern repeats every 2/3 along each axis: three or more copies of the curve along each
        cells = torch.div(found.theta + 1, 2 / 3, rounding_mode="floor").clamp(0, 2).long()
        hit = {tuple(cell) for cell in cells.tolist()}
        assert len(hit) == 9


def test_a_thin_curve_is_completed_by_refined_starts(vector_problem):
    problem = vector_problem("sin(3*pi*x0) + cos(3*pi*x1)", rmse=0.0005)
    _, y = vectors(problem, 2)
    for target, found in zip(y, reference_sets(problem, y, budget=Budget(5_000, starts=2_000, kept=300)), strict=True):
        simulated = valid(problem, simulations_of(problem, 0, 5_000), target).sum()
        assert valid(problem, found.theta, target).all()
        assert len(found.theta) > simulated + 50


def test_the_elementary_symmetric_functions_have_the_six_permutations(vector_problem):
    forward = ["x0 + x1 + x2", "x0*x1 + x1*x2 + x0*x2", "x0*x1*x2"]
    problem = vector_problem(*forward, bounds=[[0, 1]] * 3, rmse=0.001)
    known = torch.tensor([[0.2, 0.5, 0.9], [0.1, 0.35, 0.6]])
    sets = reference_sets(problem, problem.forward(known), budget=Budget(50_000, starts=400))
    for one, found in zip(known.tolist(), sets, strict=True):
        assert found.finite
        assert_same_points(found.theta, list(itertools.permutations(one)))


def test_eight_parameters_with_a_single_solution(vector_problem):
    matrix = np.eye(8) + 0.2 * np.random.default_rng(0).standard_normal((8, 8))
    mixed = [" + ".join(f"({value:.6f})*x{number}" for number, value in enumerate(row)) for row in matrix]
    # tanh is one to one, so the system has the solution of the linear one
    problem = vector_problem(*(f"tanh({row})" for row in mixed), bounds=[[-1, 1]] * 8, rmse=0.01)
    assert has_isolated_solutions(problem)
    known, y = vectors(problem, 2)
    for one, target, found in zip(known, y, reference_sets(problem, y, budget=Budget(20_000, 10)), strict=True):
        assert found.finite
        assert_same_points(found.theta, one[None], 5e-3)
        solved = np.linalg.solve(np.round(matrix, 6), np.arctanh(target.double().numpy()))
        np.testing.assert_allclose(found.theta[0].numpy(), solved, atol=5e-3)


def test_a_badly_scaled_box_has_the_solutions_of_the_unit_box(vector_problem):
    unit = vector_problem("x0**2 + x1**2", "x0 * x1", bounds=[[0, 1], [0, 1]])
    scaled = vector_problem("x0**2 + (x1/1000)**2", "x0 * x1/1000", bounds=[[0, 1], [0, 1000]])
    known = torch.tensor([[0.8, 0.3], [0.2, 0.9]])
    y = unit.forward(known)
    budget = Budget(20_000, starts=200)
    for one, other in zip(
        reference_sets(unit, y, budget=budget), reference_sets(scaled, y, budget=budget), strict=True
    ):
        assert len(one.theta) == 2
        assert_same_points(other.theta / torch.tensor([1.0, 1000.0]), one.theta)


def test_phases_of_vectors_are_enumerated_and_found_by_the_search(vector_problem):
    problem = vector_problem("sin(9*x0 + 2*x1)", "cos(7*x1 - x0)")
    known, y = vectors(problem, 3)
    enumerated = reference_sets(problem, y, known=known)
    searched = reference_sets(problem, y, budget=Budget(20_000, starts=400))
    for one, two in zip(enumerated, searched, strict=True):
        assert one.finite
        assert len(one.theta) > 5
        assert_same_points(two.theta, one.theta)


@pytest.mark.parametrize(
    ("forward", "bounds", "isolated"),
    [
        (["x0**2 + x1**2", "x0 * x1"], [[-1, 1], [-1, 1]], True),
        (["x0**2 + x1**2"], [[-1, 1], [-1, 1]], False),
        (["sin(3*pi*x0) + cos(3*pi*x1)"], [[-1, 1], [-1, 1]], False),
        (["x0 + x1", "x0 - x1/1000"], [[0, 1], [0, 1000]], True),
        (["x0 + x1", "2*x0 + 2*x1"], [[0, 1], [0, 1]], False),
        (["x0 + x1 + x2", "x0 - x1"], [[0, 1]] * 3, False),
        (["sin(4*x0)"], [[-1, 1]], True),
        (["0.3", "x0"], [[0, 1], [0, 1]], False),
    ],
)
def test_whether_solutions_of_vectors_are_isolated(vector_problem, forward, bounds, isolated):
    assert has_isolated_solutions(vector_problem(*forward, bounds=bounds)) is isolated


@pytest.mark.parametrize(("rmse", "isolated"), [(0.05, False), (0.001, True)])
def test_the_gate_decides_whether_solutions_can_be_told_apart(vector_problem, rmse, isolated):
    # between the six permutations in a small cube, the three functions change by little more than 0.05
    forward = ["x0 + x1 + x2", "x0*x1 + x1*x2 + x0*x2", "x0*x1*x2"]
    assert has_isolated_solutions(vector_problem(*forward, bounds=[[0, 1]] * 3, rmse=rmse)) is isolated


def test_reference_sets_of_vectors_are_cached(vector_problem, tmp_path, searches):
    problem = vector_problem()
    known, y = vectors(problem, 2)
    first = cached_reference_sets(problem, y, tmp_path, known, SMALL)
    assert same(cached_reference_sets(problem, y, tmp_path, known, SMALL), first)
    cached_reference_sets(vector_problem(bounds=[[-1, 1], [-1, 1.1]]), y, tmp_path, known, SMALL)
    assert len(searches) == 2


def test_a_long_search_says_how_far_it_is(problem, caplog, monkeypatch):
    made = problem()
    y = made.forward(made.space.decode(made.space.sample(3, torch.Generator().manual_seed(0))))
    small = Budget(simulations=2_000, starts=20, kept=10)
    with caplog.at_level(logging.INFO, logger="cvae.inversion.reference"):
        quick = reference_sets(made, y, budget=small)
        assert not caplog.records
        monkeypatch.setattr("cvae.inversion.reference.EVERY", -1.0)
        told = reference_sets(made, y, budget=small)
    assert "0 of 1 blocks of simulations searched" in caplog.text
    assert "2 of 3 conditions whose solutions are refined" in caplog.text
    assert all(torch.equal(one.theta, other.theta) for one, other in zip(quick, told, strict=True))
