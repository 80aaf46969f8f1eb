import dataclasses

import pytest
import torch

from cvae.baselines import PriorDraws
from cvae.errors import UserError
from cvae.generation import Plan, generate
from cvae.inversion import coverage_limits, reference_sets
from cvae.metrics import coverage
from cvae.seeds import Purpose, stream
from cvae.tasks import CallableForward, Gates, Problem

BIRDS = ["sin(5*x0 + 3*x1)", "cos(4*x0 + 8*x1)"]
PLANS = {
    "plain": Plan(draws=8),
    "refined": Plan(draws=8, refine_steps=5),
    "chosen": Plan(draws=8, candidates=40),
    "all": Plan(draws=8, candidates=40, refine_steps=5),
    "explored": Plan(draws=8, candidates=12, refine_steps=2, explore=10),
    "searched": Plan(draws=8, candidates=12, refine_steps=2, backfill=5_000),
}
OVERSAMPLED = {
    "unchecked": Plan(draws=8, oversample=3),
    "unchecked, explored": Plan(draws=8, oversample=3, refine_steps=2, explore=10, backfill=1_000),
}
#: functions and plans; only a continuum is oversampled
CASES = [
    pytest.param(forward, plan, id=f"{name}-{len(forward)}")
    for forward in (["x0 * x1"], BIRDS)
    for name, plan in (PLANS | ({} if forward is BIRDS else OVERSAMPLED)).items()
]


def covered(problem, x, check):
    return coverage(problem.space.coordinates(x), check.valid)


def curves(problem, count, seed=5):
    space = problem.space
    return problem.forward(space.decode(space.sample(count, torch.Generator().manual_seed(seed))))


@pytest.mark.parametrize(("forward", "plan"), CASES)
def test_the_seed_fixes_everything(problem, forward, plan):
    problem = problem(*forward)
    y = curves(problem, 5)
    separate = forward is BIRDS
    torch.manual_seed(1)
    one = generate(PriorDraws(problem), problem, y, plan, separate)
    torch.manual_seed(2)
    two = generate(PriorDraws(problem), problem, y, plan, separate)
    other = generate(PriorDraws(problem), problem, y, dataclasses.replace(plan, seed=1), separate)
    assert one.x.shape == (5, 8, 2, 50)
    assert torch.equal(one.x, two.x)
    assert one.stages == two.stages
    assert not torch.equal(one.x, other.x)


@pytest.mark.parametrize(("forward", "plan"), CASES)
def test_results_do_not_depend_on_the_chunks(problem, forward, plan):
    problem = problem(*forward)
    y, separate = curves(problem, 7), forward is BIRDS
    whole = generate(PriorDraws(problem), problem, y, plan, separate)
    for chunk in (1, 3 * plan.decoded + 1):
        pieces = generate(PriorDraws(problem), problem, y, dataclasses.replace(plan, chunk=chunk), separate)
        torch.testing.assert_close(pieces.x, whole.x, rtol=0, atol=1e-4)
        assert torch.equal(pieces.check.valid, whole.check.valid)
        assert pieces.evaluations == whole.evaluations
        for name, stage in whole.stages.items():
            assert pieces.stages[name] == pytest.approx(stage, abs=1e-4)


class Recorded:
    """Draws of the prior that remember what they were asked for."""

    def __init__(self, problem):
        self.model = PriorDraws(problem)
        self.temperature = None
        self.asked = []
        self.drawn = []

    def tempered(self, temperature):
        self.temperature = temperature
        return self

    def draw(self, y, draws, generator):
        self.asked.append((len(y), draws, self.temperature))
        self.drawn.append(self.model.draw(y, draws, generator))
        return self.drawn[-1]


def test_no_more_draws_are_held_than_the_chunk(problem):
    problem = problem()
    model = Recorded(problem)
    generate(model, problem, curves(problem, 7), Plan(draws=5, candidates=20, chunk=65, temperature=1.7))
    assert model.asked == [(3, 20, 1.7), (3, 20, 1.7), (1, 20, 1.7)]
    # explored draws are held beside
    model.asked.clear()
    generate(model, problem, curves(problem, 3), Plan(draws=5, candidates=20, chunk=65, refine_steps=1, explore=20))
    assert [asked[:2] for asked in model.asked] == [(1, 20), (1, 20), (1, 20)]
    # one condition is the least
    model.asked.clear()
    generate(model, problem, curves(problem, 2), Plan(draws=5, chunk=2))
    assert [asked[:2] for asked in model.asked] == [(1, 5), (1, 5)]


@pytest.mark.parametrize("forward", [["x0 * x1"], BIRDS])
def test_stages_tell_what_each_left(problem, forward):
    problem = problem(*forward, pearson=0.8, rmse=0.1)
    y = curves(problem, 4)
    for name, plan in PLANS.items():
        model = Recorded(problem)
        found = generate(model, problem, y, plan, separate=forward is BIRDS)
        stages = {"plain": ["draw"], "refined": ["draw", "refine"], "chosen": ["draw", "select"]}
        stages["explored"] = ["draw", "refine", "explore", "select"]
        stages["searched"] = ["draw", "refine", "backfill", "select"]
        assert list(found.stages) == stages.get(name, ["draw", "refine", "select"])
        assert found.evaluations == 4 * plan.drawn
        (x,) = model.drawn
        check = problem.check(x, y)
        swept = covered(problem, x, check).mean().item()
        plain = (plan.drawn, check.valid.float().mean().item(), swept, check.misfit.mean().item())
        assert found.stages["draw"] == pytest.approx(plain)
        last = found.stages[list(found.stages)[-1]]
        check = problem.check(found.x, y)
        assert torch.equal(check.valid, found.check.valid)
        swept = covered(problem, found.x, check).mean().item()
        assert last == pytest.approx((8, check.valid.float().mean().item(), swept, check.misfit.mean().item()))


def test_plain_draws_are_the_models_own(problem):
    problem = problem()
    model = Recorded(problem)
    found = generate(model, problem, curves(problem, 3), Plan(draws=6, seed=4))
    expected = PriorDraws(problem).draw(torch.zeros(3, 1, 50), 6, stream(Purpose.GENERATION, 4))
    assert torch.equal(found.x, expected)


class Counted:
    """Counts the solutions that f is evaluated on."""

    def __init__(self, forward):
        self.forward = forward
        self.y_shape, self.conditions = forward.y_shape, forward.conditions
        self.config, self.name = forward.config, forward.name
        self.count = 0

    def __call__(self, x):
        self.count += x.shape[:-2].numel()
        return self.forward(x)


@pytest.mark.parametrize("separate", [True, False])
def test_evaluations_of_f_are_counted(problem, separate):
    plain = problem()
    y = curves(plain, 3)
    one = generate(PriorDraws(plain), plain, y, Plan(draws=10), separate)
    assert (one.evaluations, one.forward_evaluations) == (30, 30)
    counted = Problem(plain.space, Counted(plain.forward), plain.gates)
    # simulations for the spread of y are no part of the method
    assert counted.spread
    counted.forward.count = 0
    plan = Plan(draws=10, refine_steps=4)
    found = generate(PriorDraws(plain), counted, y, plan, separate)
    # checks of what is shown in the stages are not part of the method
    shown = 2 * 30
    assert counted.forward.count - shown <= found.forward_evaluations <= 2 * counted.forward.count


def test_the_problem_itself_says_whether_solutions_are_separate(problem):
    plan = Plan(draws=5, candidates=30, refine_steps=10)
    for forward, separate in ((["x0 * x1"], False), (BIRDS, True)):
        each = problem(*forward)
        y = curves(each, 3)
        found = generate(PriorDraws(each), each, y, plan)
        assert torch.equal(found.x, generate(PriorDraws(each), each, y, plan, separate).x)
        assert not torch.equal(found.x, generate(PriorDraws(each), each, y, plan, not separate).x)


def test_many_refined_draws_hold_all_separate_solutions(problem):
    problem = problem(*BIRDS, pearson=0.8, rmse=0.1)
    known = problem.space.sample(6, torch.Generator().manual_seed(3))
    y = problem.forward(problem.space.decode(known))
    found = generate(PriorDraws(problem), problem, y, Plan(draws=5, candidates=300, refine_steps=20))
    for x, valid, exact in zip(found.x, found.check.valid, reference_sets(problem, y, known=known), strict=True):
        distance = (problem.space.encode(x[valid])[:, None] - exact.theta).abs().amax(2)
        assert distance.amin(0).max() < 1e-2


def test_every_stage_helps_on_a_continuum(problem):
    problem = problem()
    y = curves(problem, 5)
    stages = generate(PriorDraws(problem), problem, y, Plan(draws=30, candidates=200, refine_steps=15)).stages
    assert stages["refine"].valid > 0.9 > 0.5 > stages["draw"].valid
    assert stages["select"].valid == 1
    plain = generate(PriorDraws(problem), problem, y, Plan(draws=30, refine_steps=15)).stages["refine"]
    assert stages["refine"].coverage > stages["select"].coverage > plain.coverage


def test_a_condition_that_nothing_explains_keeps_invalid_draws(problem):
    problem = problem()
    found = generate(PriorDraws(problem), problem, torch.full((1, 1, 50), 9.0), PLANS["all"])
    assert found.x.shape == (1, 8, 2, 50)
    assert found.x.isfinite().all()
    assert not found.check.valid.any()


@pytest.mark.parametrize(
    ("forward", "directions", "points"),
    [
        (["x0 * x1 + x2"], ["falling", "rising", "rising"], 23),
        (["sin(6*x0)"], ["falling"], 50),
        (["x0 / x1"], ["falling", "rising"], 200),
        (["maximum(x0 - 0.5, 0) * x1"], ["falling", "rising"], 23),
        (["tanh(50*(x0 - x1))"], ["falling", "rising"], 50),
    ],
)
def test_other_lines_points_and_functions(problem, forward, directions, points):
    problem = problem(*forward, directions=directions, points=points)
    y = curves(problem, 4)
    found = generate(PriorDraws(problem), problem, y, Plan(draws=5, candidates=60, refine_steps=15))
    assert found.x.shape == (4, 5, len(directions), points)
    assert found.x.isfinite().all()
    assert found.check.valid.float().mean() > 0.9


def test_functions_that_are_not_pointwise(problem):
    plain = problem()
    forward = CallableForward(
        lambda x: (x[..., :1, :] * x[..., 1:, :]).cumsum(-1) / 20, {"_target_": "here"}, plain.space
    )
    problem = Problem(plain.space, forward, Gates(0.05, 0.9))
    found = generate(PriorDraws(problem), problem, curves(problem, 3), Plan(draws=5, candidates=40, refine_steps=15))
    assert found.check.valid.all()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"draws": 0}, "generation.draws is 0; it must be at least 1"),
        ({"oversample": 0}, "generation.oversample is 0; it must be at least 1 and at most 1000"),
        ({"oversample": 10**9}, "generation.oversample is 1000000000; it must be at least 1 and at most 1000"),
        (
            {"draws": 5, "candidates": 20, "oversample": 2},
            "generation.oversample is 2 and generation.candidates 20; f chooses among candidates already",
        ),
        ({"refine_steps": -1}, "generation.refine_steps is -1; it must be at least 0"),
        ({"chunk": 0}, "generation.chunk is 0; it must be at least 1"),
        ({"unseen": 1.5}, "generation.unseen is 1.5; it is a share, and must be at most 1"),
        ({"temperature": 0.0}, "generation.temperature is 0.0; it must be positive"),
        ({"temperature": float("nan")}, "generation.temperature is nan"),
        ({"draws": 30, "candidates": 29}, "generation.candidates is 29; it must be at least generation.draws, 30"),
    ],
)
def test_plans_that_make_no_sense_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        Plan(**numbers)


def test_a_plan_without_candidates_draws_what_it_keeps():
    assert (Plan(draws=7).drawn, Plan(draws=7, candidates=7).drawn, Plan(draws=7, candidates=20).drawn) == (7, 7, 20)


# --- oversampling


class Copies:
    """Draws one pair of lines, but for a few draws that are shifted: their numbers, and how far."""

    def __init__(self, others):
        self.others = others

    def draw(self, y, draws, generator):
        middle = torch.stack([torch.linspace(0.9, 0.1, 50), torch.linspace(0.1, 0.9, 50)])
        x = middle.expand(len(y), draws, 2, 50).clone()
        for draw, shift in self.others.items():
            x[:, draw] += shift
        return x


def test_of_more_draws_those_are_kept_that_cover_most_without_asking_f(problem):
    asked = []

    def product(x):
        asked.append(x.shape[:-2].numel())
        return x[..., 0:1, :] * x[..., 1:2, :]

    space = problem().space
    problem = Problem(space, CallableForward(product, {"_target_": "here"}, space), Gates(0.05, 0.9))
    model = Copies({2: 0.06, 7: -0.06, 11: 0.1})
    every = model.draw(torch.zeros(2, 1, 50), 12, None)
    y = product(every)[:, 0]
    # one of the copies and the three others, in the order of the draws; that these are invalid is not asked before
    expected = every[:, [0, 2, 7, 11]]
    assert problem.check(expected, y).valid.tolist() == [[True, False, False, False]] * 2
    asked.clear()
    found = generate(model, problem, y, Plan(draws=4, oversample=3), separate=False)
    torch.testing.assert_close(found.x, expected, rtol=0, atol=0)
    assert max(asked) == 2 * 4
    assert (found.evaluations, found.forward_evaluations) == (2 * 12, 2 * 4)
    assert (list(found.stages), found.stages["oversample"].draws) == (["oversample"], 4)


def test_what_is_known_to_be_invalid_without_f_is_kept_last(problem):
    problem = problem()
    # out of range, not a number, and crooked
    model = Copies({1: 0.5, 2: torch.nan, 3: 0.2 * torch.linspace(0, 40, 50).sin()})
    x = model.draw(torch.zeros(1, 1, 50), 12, None)
    y = problem.forward(x[:, 0])
    found = generate(model, problem, y, Plan(draws=4, oversample=3), separate=False)
    torch.testing.assert_close(found.x, x[:, [0, 0, 0, 0]], rtol=0, atol=0)


def test_oversampled_draws_cover_more_than_as_many_plain_ones(problem):
    problem = problem()
    y = curves(problem, 6)
    plans = Plan(draws=30), Plan(draws=30, oversample=4)
    every = torch.ones(6, 30, dtype=torch.bool)
    plain, oversampled = (
        coverage(problem.space.coordinates(generate(PriorDraws(problem), problem, y, plan, False).x), every)
        for plan in plans
    )
    assert (oversampled > plain + 0.05).all()


def test_separate_solutions_are_not_oversampled(problem):
    problem = problem(*BIRDS)
    message = (
        r"generation\.oversample is 4, but the solutions of one y are separate points, .* generation\.candidates\."
    )
    for separate in (True, None):
        with pytest.raises(UserError, match=message):
            generate(PriorDraws(problem), problem, curves(problem, 2), Plan(draws=3, oversample=4), separate)


# --- temperature


def test_a_sampler_without_a_temperature_is_not_given_one(problem):
    problem = problem()
    with pytest.raises(ValueError, match=r"generation\.temperature is 1\.5, but PriorDraws has no temperature"):
        generate(PriorDraws(problem), problem, curves(problem, 2), Plan(draws=3, temperature=1.5))


@pytest.mark.parametrize(
    ("plan", "separate", "temperature"),
    [
        (Plan(draws=5), False, None),
        (Plan(draws=5, refine_steps=1), False, None),
        (Plan(draws=5, candidates=20), False, 2.5),
        (Plan(draws=5, candidates=20), True, 1.5),
        (Plan(draws=5, oversample=4), False, None),
        (Plan(draws=5, candidates=20, temperature=1.1), False, 1.1),
        (Plan(draws=5, temperature=0.7), True, 0.7),
    ],
)
def test_candidates_that_are_chosen_from_spread_wider(problem, plan, separate, temperature):
    problem = problem()
    model = Recorded(problem)
    generate(model, problem, curves(problem, 2), plan, separate)
    assert model.asked == [(2, plan.decoded, temperature)]


# --- vectors

#: a point of each of four mirrored solutions of x0**2 + x1**2 and x0 * x1
RING = ["x0**2 + x1**2", "x0 * x1"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_refined_prior_draws_find_all_four_exact_points(vector_problem, seed):
    problem = vector_problem(*RING)
    known = torch.tensor([[0.8, 0.3], [0.9, -0.2], [-0.5, 0.1]])
    plan = Plan(draws=4, candidates=200, refine_steps=15, seed=seed)
    found = generate(PriorDraws(problem), problem, problem.forward(known), plan)
    assert found.check.valid.all()
    for x, (a, b) in zip(found.x, known.tolist(), strict=True):
        distance = torch.cdist(x, torch.tensor([[a, b], [b, a], [-a, -b], [-b, -a]]))
        # one draw for each of the four
        assert sorted(distance.argmin(1).tolist()) == [0, 1, 2, 3]
        assert distance.amin(1).max() < 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_thirty_of_the_refined_prior_draws_cover_nearly_what_can_be_covered(vector_problem, seed):
    problem = vector_problem()
    known = problem.space.sample(4, torch.Generator().manual_seed(seed))
    y = problem.forward(known)
    found = generate(PriorDraws(problem), problem, y, Plan(draws=30, candidates=2_000, refine_steps=15, seed=seed))
    limits = coverage_limits(problem, reference_sets(problem, y, seed), 30)
    assert found.check.valid.all()
    assert (covered(problem, found.x, found.check) >= 0.9 * limits).all()


@pytest.mark.parametrize("forward", [RING, ["sin(3*pi*x0) + cos(3*pi*x1)"]])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_vectors_go_through_every_stage_and_do_not_depend_on_the_chunks(vector_problem, forward, plan):
    problem = vector_problem(*forward)
    y = problem.forward(problem.space.sample(5, torch.Generator().manual_seed(5)))
    separate = forward is RING
    whole = generate(PriorDraws(problem), problem, y, plan, separate)
    assert whole.x.shape == (5, 8, 2)
    assert problem.space.in_range(whole.x).all()
    pieces = generate(PriorDraws(problem), problem, y, dataclasses.replace(plan, chunk=2 * plan.drawn + 1), separate)
    torch.testing.assert_close(pieces.x, whole.x, rtol=0, atol=1e-4)
    stages = list(whole.stages.values())
    assert stages[-1].valid >= stages[0].valid
