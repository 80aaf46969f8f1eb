import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from cvae.problems import CallableForward, Problem, reference
from cvae.problems.exact import product_family
from cvae.problems.reference import (
    ReferenceSet,
    cached_reference_sets,
    has_isolated_solutions,
    merge,
    reference_sets,
    search_pool,
)
from cvae.seeds import stream

BIRDS = {
    "two_birds": ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"],
    "two_birds_low": ["sin(5*x0 + 3*x1)", "cos(4*x0 + 8*x1)"],
    "two_birds_mixed": ["cos(49*x0 + 63*x1)", "cos(4*x0 + 8*x1)"],
}


def general(problem, function):
    forward = CallableForward(function, {"_target_": "here"}, problem.geometry)
    return Problem(problem.geometry, forward, problem.gates)


def cumulative(x):
    """Each point of y depends on all points of x before it."""
    return (x[..., :1, :] * x[..., 1:2, :]).cumsum(-1) / x.shape[-1]


def conditions(problem, count, generator):
    """Known solutions and their conditions."""
    known = problem.geometry.sample(count, generator)
    return known, problem.forward(problem.geometry.to_lines(known))


def pool_of(problem, seed, size):
    return torch.cat(
        [
            endpoints
            for endpoints, _ in reference._pool(problem, stream(seed, reference.REFERENCE), size, torch.device("cpu"))
        ]
    )


def valid(problem, endpoints, y):
    return problem.check(problem.geometry.to_lines(endpoints)[None], y[None]).valid[0]


@pytest.mark.parametrize("name", BIRDS)
@pytest.mark.parametrize("span", [1.0, 0.01])
def test_the_search_finds_exactly_the_enumerated_solutions(problem, generator, name, span):
    # the same problem on a range of another width has the same solutions, scaled
    scaled = [text.replace("*x", f"/{span}*x") for text in BIRDS[name]]
    problem = problem(*scaled, range=[0.0, span], pearson=0.8, rmse=0.1)
    known, y = conditions(problem, 4, generator)
    searched = reference_sets(problem, y, pool=60_000, starts=400)
    unit = ReferenceSet(known / span, True).endpoints
    exact = reference_sets(problem_of_unit(BIRDS[name]), y, known=unit)
    assert max(len(each.endpoints) for each in exact) > 1
    for found, all_of_them in zip(searched, exact, strict=True):
        assert found.finite
        assert all_of_them.finite
        assert len(found.endpoints) == len(all_of_them.endpoints)
        distance = (found.endpoints[:, None] / span - all_of_them.endpoints).abs().amax((2, 3))
        assert distance.amin(0).max() < 1e-3
        assert distance.amin(1).max() < 1e-3


def problem_of_unit(forward):
    return Problem.from_config(50, ["falling", "rising"], [0, 1], forward, {"pearson": 0.8, "rmse": 0.1})


def inside_hull(point, cloud):
    """Whether a point is a convex combination of others (a linear programme)."""
    equal = np.vstack([cloud.T, np.ones(len(cloud))])
    return linprog(np.zeros(len(cloud)), A_eq=equal, b_eq=np.append(point, 1), method="highs").status == 0


def test_the_reference_set_of_product_holds_its_scale_family(problem):
    problem = problem()
    known = torch.tensor([[0.8, 0.3], [0.4, 0.7]])
    y = problem.forward(problem.geometry.to_lines(known))
    (found,) = reference_sets(problem, y[None], pool=100_000, kept=1_000)
    assert not found.finite
    assert len(found.endpoints) == 1_000
    assert valid(problem, found.endpoints, y).all()
    cloud = found.endpoints.flatten(1).double().numpy()
    # its two ends lie on the border of the range, where no sample reaches
    family = product_family(problem.geometry, known, 12)[1:-1].flatten(1).double().numpy()
    assert all(inside_hull(point, cloud) for point in family)
    # the hull is no excuse: it leaves out what misses the condition
    assert not inside_hull(np.array([0.9, 0.8, 0.8, 0.9]), cloud)


@pytest.mark.parametrize("forward", [["x0 * x1"], ["x0 / x1"], ["x0 * x1", "x0 + x1**2"], ["1000 * x0 * x1"]])
@pytest.mark.parametrize("block", [500, 10_000])
def test_the_pool_is_searched_as_one_by_one(problem, generator, monkeypatch, forward, block):
    monkeypatch.setattr(reference, "BLOCK", block)
    problem = problem(*forward, rmse=0.05 if forward[0][0] == "x" else 50)
    _, y = conditions(problem, 5, generator)
    found = search_pool(problem, y, 10**6, 40, seed=3, pool=2_300)
    pool = pool_of(problem, 3, 2_300)
    assert len(pool) == 2_300
    for target, accepted, nearest in zip(y, found.accepted, found.nearest, strict=True):
        assert torch.equal(accepted, pool[valid(problem, pool, target)])
        misfit = problem.misfit(problem.geometry.to_lines(pool), target)
        expected = misfit.sort().values[:40]
        own = problem.misfit(problem.geometry.to_lines(nearest), target).sort().values
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))
    assert sum(len(accepted) for accepted in found.accepted) > 0


def test_a_condition_that_has_enough_leaves_the_others_in_place(problem, generator, monkeypatch):
    # more of the nearest than a block holds, and conditions that end after different blocks
    monkeypatch.setattr(reference, "BLOCK", 100)
    problem = problem()
    _, y = conditions(problem, 6, generator)
    found = search_pool(problem, y, 3, 250, seed=0, pool=3_000)
    sizes = {len(nearest) for nearest in found.nearest}
    assert len(sizes) > 1
    for target, accepted, nearest in zip(y, found.accepted, found.nearest, strict=True):
        assert valid(problem, accepted, target).all()
        inside = set(map(tuple, nearest.flatten(1).tolist()))
        assert inside >= set(map(tuple, accepted.flatten(1).tolist()))


def test_near_a_pole_no_member_is_lost_to_rounding(problem, generator, monkeypatch):
    problem = problem("x0 / x1")
    known, _ = conditions(problem, 30, generator)
    known[0] = torch.tensor([[0.9, 0.5], [0.001, 0.8]])
    y = problem.forward(problem.geometry.to_lines(known))
    assert y[0].max() > 500
    around = known[0] * (1 + 2e-3 * (torch.rand(4_000, 2, 2, generator=generator) - 0.5))
    monkeypatch.setattr(
        reference, "_pool", lambda *_: iter([(around, problem.forward(problem.geometry.to_lines(around)))])
    )
    accepted = search_pool(problem, y, 10**6, 5, seed=0).accepted[0]
    expected = around[valid(problem, around, y[0])]
    assert 100 < len(expected) < 4_000
    assert torch.equal(accepted, expected)


def test_a_thin_accepted_set_is_completed_by_refined_starts(problem, generator):
    problem = problem("sin(30*x0*x1)")
    _, y = conditions(problem, 3, generator)
    pool = pool_of(problem, 0, 5_000)
    for target, found in zip(y, reference_sets(problem, y, pool=5_000, starts=1_000), strict=True):
        assert not found.finite
        assert valid(problem, found.endpoints, target).all()
        assert len(found.endpoints) > valid(problem, pool, target).sum() + 5


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
    for target, found in zip(y, reference_sets(smoothed, y, pool=5_000, starts=100, kept=50), strict=True):
        assert len(found.endpoints) >= 50
        assert valid(smoothed, found.endpoints, target).all()


def test_functions_that_are_not_pointwise(problem, generator):
    both = general(problem(rmse=0.01), lambda x: torch.cat([cumulative(x), cumulative(x + 1)], dim=-2))
    for each in (general(problem(), cumulative), both):
        _, y = conditions(each, 2, generator)
        for target, found in zip(y, reference_sets(each, y, pool=5_000, starts=200, kept=30), strict=True):
            assert len(found.endpoints) > 0
            assert valid(each, found.endpoints, target).all()


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
    for one, target, found in zip(known, y, reference_sets(problem, y, pool=50_000, starts=300, kept=60), strict=True):
        assert found.finite is finite
        assert found.endpoints.shape[1:] == (len(directions), 2)
        assert valid(problem, found.endpoints, target).all()
        if finite:
            assert (found.endpoints - one).abs().amax((1, 2)).min() < 1e-3
        else:
            assert len(found.endpoints) >= 60


def test_the_seed_decides_the_pool(problem, generator):
    problem = problem()
    _, y = conditions(problem, 2, generator)
    one, same, other = (reference_sets(problem, y, seed, pool=5_000, kept=20) for seed in (0, 0, 1))
    for first, second, third in zip(one, same, other, strict=True):
        assert torch.equal(first.endpoints, second.endpoints)
        assert not torch.equal(first.endpoints, third.endpoints)


def test_merging_keeps_the_best_of_each_cluster(generator):
    centres = torch.tensor([[[0.9, 0.1], [0.1, 0.9]], [[0.5, 0.4], [0.2, 0.3]], [[0.5, 0.4], [0.2, 0.36]]])
    near = centres[:, None] + 0.002 * (torch.rand(3, 10, 2, 2, generator=generator) - 0.5)
    misfit = torch.rand(3, 10, generator=generator)
    order = torch.randperm(30, generator=generator)
    found = merge(near.flatten(0, 1)[order], misfit.flatten()[order], separation=0.01)
    best = misfit.argmin(1)
    expected = near[torch.arange(3), best][misfit.amin(1).argsort()]
    assert torch.equal(found, expected)
    assert merge(near[0, :0], misfit[0, :0], 0.01).shape == (0, 2, 2)


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


OPTIONS = {"pool": 2_000, "kept": 20, "starts": 50}


def same(one, two):
    return all(torch.equal(a.endpoints, b.endpoints) and a.finite == b.finite for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("forward", [["x0 * x1"], BIRDS["two_birds_low"]])
def test_a_hit_of_the_cache_gives_the_same_sets(problem, generator, tmp_path, searches, forward):
    problem = problem(*forward)
    known, y = conditions(problem, 3, generator)
    for knowing in (None, known):
        searches.clear()
        first = cached_reference_sets(problem, y, tmp_path / "new" / "cache", knowing, **OPTIONS)
        second = cached_reference_sets(problem, y, tmp_path / "new" / "cache", knowing, **OPTIONS)
        assert len(searches) == 1
        assert same(first, second)
        assert all(isinstance(each, ReferenceSet) for each in second)


def test_whatever_changes_the_sets_is_a_miss(problem, generator, tmp_path, searches):
    plain = problem()
    known, y = conditions(plain, 3, generator)
    cached_reference_sets(plain, y, tmp_path, **OPTIONS)
    for other in (problem(rmse=0.04), problem(pearson=0.8), problem("x0 * x1 * 1"), problem(range=[0, 2])):
        cached_reference_sets(other, y, tmp_path, **OPTIONS)
    cached_reference_sets(plain, y[:2], tmp_path, **OPTIONS)
    cached_reference_sets(plain, y.flip(0), tmp_path, **OPTIONS)
    cached_reference_sets(plain, y, tmp_path, **OPTIONS, seed=1)
    cached_reference_sets(plain, y, tmp_path, **(OPTIONS | {"kept": 10}))
    cached_reference_sets(plain, y, tmp_path, known, **OPTIONS)
    assert len(searches) == len(list(tmp_path.iterdir())) == 10
    cached_reference_sets(plain, y, None, **OPTIONS)
    assert len(searches) == 11
    assert len(list(tmp_path.iterdir())) == 10


@pytest.mark.parametrize("content", [b"", b"not a file of torch", "half", {"other": 1}])
def test_a_damaged_cache_is_searched_anew_and_mended(problem, generator, tmp_path, searches, caplog, content):
    problem = problem()
    _, y = conditions(problem, 2, generator)
    first = cached_reference_sets(problem, y, tmp_path, **OPTIONS)
    (path,) = tmp_path.iterdir()
    if isinstance(content, dict):
        torch.save(content, path)
    else:
        path.write_bytes(path.read_bytes()[:500] if content == "half" else content)
    assert same(cached_reference_sets(problem, y, tmp_path, **OPTIONS), first)
    assert len(searches) == 2
    assert "searched anew" in caplog.text
    assert same(cached_reference_sets(problem, y, tmp_path, **OPTIONS), first)
    assert len(searches) == 2


def test_a_callable_from_a_config_is_cached_too(tmp_path, monkeypatch, generator, searches):
    module = ModuleType("functions_of_mine")
    module.cumulative = cumulative
    monkeypatch.setitem(sys.modules, "functions_of_mine", module)
    gates = {"pearson": 0.9, "rmse": 0.05}
    problem = Problem.from_config(
        50, ["falling", "rising"], [0, 1], {"_target_": "functions_of_mine.cumulative"}, gates
    )
    _, y = conditions(problem, 2, generator)
    first = cached_reference_sets(problem, y, tmp_path, **OPTIONS)
    assert same(cached_reference_sets(problem, y, tmp_path, **OPTIONS), first)
    assert len(searches) == 1
