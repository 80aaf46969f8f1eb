"""The set objective: smooth coverage, violations of the gates, and what a step asks for."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from cvae.errors import UserError
from cvae.losses import Progress, SetObjective, brought_nearer, choice_term, leave_one_out, smooth_coverage, violations
from cvae.networks import ParametersHead, ValuesHead, branches, dense, mixture
from cvae.seeds import Purpose, stream
from cvae.tasks import box_problem, line_problem

GATES = {"pearson": 0.9, "rmse": 0.05}


def generator(seed=0):
    return stream(Purpose.SETS, seed)


@pytest.fixture
def problem():
    return line_problem(50, ["falling", "rising"], [0.0, 1.0], ["x0 * x1"], GATES)


def pairs(problem, count):
    x = problem.space.decode(problem.space.sample(count, generator()))
    return x, problem.forward(x)


def network(problem, head=ParametersHead):
    torch.manual_seed(0)
    made = head(problem.space) if head is ParametersHead else head(problem.x_shape)
    return dense(problem.x_shape, problem.y_shape, 2, [32], True, made)


def test_many_narrow_gaps_cover_what_bins_count():
    """The average over shifted bins, counted by numpy, for draws so close that the saturating term is a line."""
    rng = np.random.default_rng(0)
    draws = np.sort(rng.uniform(0.2, 0.8, 4000))
    width = 0.05
    counted = [len(np.unique(np.floor((draws + shift) / width))) for shift in rng.uniform(0, width, 2000)]
    smooth = smooth_coverage(torch.tensor(draws).view(1, -1, 1), width).item()
    assert smooth + width == pytest.approx(np.mean(counted) * width, rel=0.01)


def test_gaps_far_wider_than_a_bin_count_one_bin_each():
    u = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1)
    assert smooth_coverage(u, 0.01).item() == pytest.approx(2 * 0.01)


def test_coverage_is_the_mean_over_coordinates_whatever_the_order_of_draws():
    u = torch.rand(3, 7, 4, generator=generator())
    shuffled = u[:, torch.randperm(7, generator=generator())]
    alone = torch.stack([smooth_coverage(u[..., [c]], 0.1) for c in range(4)]).mean(0)
    assert torch.allclose(smooth_coverage(shuffled, 0.1), alone)


def test_coverage_is_largest_for_even_draws_between_fixed_ends():
    u = torch.cat([torch.tensor([0.0, 1.0]), torch.rand(3, generator=generator())]).requires_grad_()
    inner = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0])
    for _ in range(3000):
        (gradient,) = torch.autograd.grad(smooth_coverage(u.view(1, -1, 1), 0.2).sum(), u)
        u = (u + 0.01 * inner * gradient).detach().requires_grad_()
    assert torch.allclose(u.sort().values, torch.linspace(0, 1, 5), atol=0.01)


def test_violations_are_hinges_summed_over_the_gates():
    ratios = torch.tensor([[0.5, 0.95], [2.0, 3.0]])
    assert torch.allclose(violations(ratios, 0.9), torch.tensor([0.05, 3.2]))


def test_ratios_agree_with_the_verdict_of_the_gates(problem):
    """A draw passes exactly if no ratio is above 1, for straight lines, bent ones, and ones out of range."""
    rng = generator()
    theta = problem.space.sample(400, rng)
    x = problem.space.decode(theta).view(4, 100, 2, 50)
    x = x + 0.1 * torch.rand(4, 100, 1, 1, generator=rng) * torch.randn(x.shape, generator=rng)
    y = problem.forward(problem.space.decode(problem.space.sample(4, rng)))
    # of every kind some, since few of the prior are near to a y
    y[0] = problem.forward(x[0, 0])
    ratios = problem.gate_ratios(x, y.unsqueeze(1))
    check = problem.check(x, y)
    assert torch.equal((ratios <= 1).all(-1), check.valid)
    in_range = ratios[..., -1] <= 1
    assert 0 < in_range.sum() < in_range.numel()
    assert check.valid.any()


def test_the_gradient_of_exact_solutions_is_finite(problem):
    x = problem.space.decode(problem.space.sample(5, generator())).requires_grad_()
    problem.gate_ratios(x, problem.forward(x.detach())).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("head", [ParametersHead, ValuesHead])
def test_steps_on_one_batch_raise_coverage_and_lower_violations(problem, head):
    made = network(problem, head)
    x, y = pairs(problem, 8)
    objective = SetObjective(weight=1.0, draws=[10, 10], size=80, gate_weight=[1.0, 1.0], width=[0.1, 0.1])
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    costs = []
    for step in range(150):
        sets = objective(problem, made, x, y, Progress(50, 100), generator(step))
        optimizer.zero_grad()
        sets.cost.mean().backward()
        optimizer.step()
        costs.append((sets.gain.mean().item(), sets.violation.mean().item()))
    before, after = np.mean(costs[:10], axis=0), np.mean(costs[-10:], axis=0)
    assert after[0] - after[1] > before[0] - before[1] + 0.1
    assert after[1] < before[1] / 2


def test_a_step_has_as_many_draws_as_its_size_allows(problem):
    made = network(problem)
    x, y = pairs(problem, 50)
    objective = SetObjective(weight=1.0, draws=[5, 100], size=200)
    counts = {len(objective(problem, made, x, y, Progress(20, 100), generator(seed)).cost) for seed in range(40)}
    assert min(counts) == 2
    assert max(counts) >= 33
    assert len(counts) > 10


def test_numbers_of_draws_are_even_on_a_logarithmic_scale():
    objective, rng = SetObjective(weight=1.0, draws=[5, 80]), generator()
    drawn = [objective.draws_at(rng) for _ in range(2000)]
    assert min(drawn) == 5
    assert max(drawn) == 80
    # half of them lie below the geometric mean
    assert np.mean(np.array(drawn) < math.sqrt(5 * 80)) == pytest.approx(0.5, abs=0.04)


def test_the_objective_comes_in_at_its_start_and_weighs_the_gates_more_and_more(problem):
    objective = SetObjective(weight=1.0, start=0.5, gate_weight=[1.0, 16.0])
    assert not objective.active(Progress(49, 100))
    assert objective.active(Progress(50, 100))
    made = network(problem)
    x, y = pairs(problem, 20)
    for step, weight in ((50, 1.0), (75, 4.0), (100, 16.0)):
        sets = objective(problem, made, x, y, Progress(step, 100), generator())
        assert torch.allclose(sets.cost, weight * sets.violation - sets.gain, rtol=1e-4)


def test_a_weight_of_zero_leaves_it_out():
    assert not SetObjective(weight=0.0, start=0.0).active(Progress(99, 100))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"weight": -1.0}, "loss.set_objective.weight is -1.0"),
        ({"weight": math.nan}, "loss.set_objective.weight is nan"),
        ({"distance_weight": -0.5}, "loss.set_objective.distance_weight is -0.5"),
        ({"start": 1.0}, "loss.set_objective.start is 1.0"),
        ({"draws": [1, 5]}, r"loss.set_objective.draws is \[1, 5\]"),
        ({"draws": [5]}, r"loss.set_objective.draws is \[5\]"),
        ({"size": 99}, "loss.set_objective.size is 99"),
        ({"margin": 0.0}, "loss.set_objective.margin is 0.0"),
        ({"width": [0.1, 0.0]}, r"loss.set_objective.width is \[0.1, 0.0\]"),
        ({"gate_weight": [1.0]}, r"loss.set_objective.gate_weight is \[1.0\]"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(arguments, named):
    with pytest.raises(UserError, match=named):
        SetObjective(**{"weight": 1.0} | arguments)


# --- choices, through which no gradient flows


def test_leave_one_out_is_the_coverage_that_is_lost_without_each_draw():
    u = torch.rand(3, 7, 4, generator=generator(), dtype=torch.float64)
    for draws in (7, 3, 2):
        some = u[:, :draws]
        others = [torch.cat([some[:, :n], some[:, n + 1 :]], 1) for n in range(draws)]
        lost = torch.stack([smooth_coverage(some, 0.1) - smooth_coverage(one, 0.1) for one in others], 1)
        assert torch.allclose(leave_one_out(some, 0.1), lost)


def test_a_draw_brings_the_set_as_much_nearer_as_a_tree_says_that_it_is_farther_without_it():
    u = torch.rand(4, 6, 3, generator=generator(), dtype=torch.float64)
    target = torch.rand(4, 3, generator=generator(1), dtype=torch.float64)
    nearer = brought_nearer(u, target)
    for row in range(4):
        distances = []
        for left_out in [None, *range(6)]:
            kept = [draw for draw in range(6) if draw != left_out]
            distances.append(KDTree(u[row, kept].numpy()).query(target[row].numpy())[0] / 3**0.5)
        assert nearer[row].tolist() == pytest.approx([one - distances[0] for one in distances[1:]])


@pytest.mark.parametrize("far", [0.0, 1.5])
def test_the_gradient_of_choices_is_that_of_the_expected_cost(far):
    """Two conditions, two draws each, two components: the mean over all sixteen choices, against the exact gradient."""
    rng, weight, width = generator(), 2.0, 0.3
    logits = torch.randn(2, 2, generator=rng, dtype=torch.float64, requires_grad=True)
    places = torch.rand(2, 2, 2, 3, generator=rng, dtype=torch.float64)  # condition, draw, component, coordinate
    missed = torch.rand(2, 2, 2, generator=rng, dtype=torch.float64)
    target = torch.rand(2, 3, generator=rng, dtype=torch.float64)
    log_prior = logits.log_softmax(1)

    def of(condition, first, second):
        """Places and violations of a set with these choices."""
        k = torch.tensor([first, second])
        return places[condition, torch.arange(2), k], missed[condition, torch.arange(2), k]

    expected = torch.zeros((), dtype=torch.float64)
    for condition, first, second in itertools.product(range(2), repeat=3):
        u, violation = of(condition, first, second)
        cost = weight * violation.mean() - smooth_coverage(u.unsqueeze(0), width)[0]
        cost = cost + far * (u - target[condition]).square().mean(1).sqrt().min()
        expected = expected + (log_prior[condition, first] + log_prior[condition, second]).exp() * cost
    (exact,) = torch.autograd.grad(expected, logits, retain_graph=True)

    estimate = torch.zeros((), dtype=torch.float64)
    for a, b, c, d in itertools.product(range(2), repeat=4):
        k = torch.tensor([[a, b], [c, d]])
        u, violation = map(torch.stack, zip(of(0, a, b), of(1, c, d), strict=True))
        log_choice = log_prior.gather(1, k)
        lost = leave_one_out(u, width) + far * brought_nearer(u, target)
        term = choice_term(2 * lost, weight * violation, log_choice)
        assert term.abs().max() == 0
        estimate = estimate + log_choice.detach().sum().exp() * term.sum()
    (mean,) = torch.autograd.grad(estimate, logits)
    assert exact.abs().min() > 1e-3
    assert torch.allclose(mean, exact)


@pytest.mark.parametrize("kind", ["branches", "mixture"])
def test_a_component_that_misses_the_gates_is_chosen_less_and_less(kind):
    problem = box_problem([[0, 1]], ["x0"], {"rmse": 0.05})
    if kind == "mixture":
        made = mixture((1,), 2, 1, width=8, blocks=1, head=ValuesHead([1]))
    else:
        made = branches((1,), (1,), 1, [8], 8, components=2, enumerated=1, head=ValuesHead([1]))
        torch.nn.init.zeros_(made.constants.weight)
        torch.nn.init.zeros_(made.constants.bias)
    with torch.no_grad():
        made.solutions.weight.zero_()
        made.solutions.bias.copy_(torch.tensor([0.3, 0.4]))
    objective = SetObjective(weight=1.0, draws=[10, 10], size=80)
    optimizer = torch.optim.Adam(made.logits.parameters(), lr=0.03)
    x = y = torch.full((8, 1), 0.3)
    points = torch.rand(8, 500, made.noise_dim, generator=generator())

    def share_of_the_right_one():
        return (made.draw(y, points) - 0.3).abs().lt(1e-5).float().mean().item()

    assert share_of_the_right_one() == pytest.approx(0.5, abs=0.05)
    for step in range(100):
        optimizer.zero_grad()
        objective(problem, made, x, y, Progress(50, 100), generator(step)).cost.mean().backward()
        optimizer.step()
    assert share_of_the_right_one() > 0.9


@pytest.mark.parametrize("distance_weight", [0.0, 2.0])
def test_branches_that_coverage_does_not_ask_for_are_chosen_for_the_distance(distance_weight):
    """Four solutions, of which two that differ in both coordinates cover as much as all."""
    problem = box_problem([[-1, 1], [-1, 1]], ["x0**2", "x1**2"], {"rmse": 0.05})
    made = branches((2,), (2,), 1, [8], 8, components=4, enumerated=1, head=ValuesHead([2]))
    solutions = torch.tensor([[0.5, 0.5], [-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5]])
    with torch.no_grad():
        for layer in (made.constants.weight, made.constants.bias, made.solutions.weight):
            layer.zero_()
        made.solutions.bias.copy_(solutions.flatten())
        made.logits.bias.copy_(torch.tensor([0.35, 0.35, 0.15, 0.15]).log())
    objective = SetObjective(weight=1.0, draws=[4, 4], size=128, distance_weight=distance_weight)
    optimizer = torch.optim.Adam([made.logits.bias], lr=0.02)
    y = torch.full((32, 2), 0.25)
    for step in range(150):
        x = solutions[torch.randint(4, (32,), generator=generator(step))]
        optimizer.zero_grad()
        objective(problem, made, x, y, Progress(50, 100), generator(step)).cost.mean().backward()
        optimizer.step()
    rare = made.log_prior(made.y_scaler(y))[0].exp()[2:].sum().item()
    assert rare == pytest.approx(0.5, abs=0.1) if distance_weight else rare < 0.3


def test_the_credit_of_a_choice_is_for_the_solution_of_its_own_condition():
    """Forty coordinates, of which a step looks at some; of two components each is the solution of every other y."""
    problem = box_problem([[-1, 1]] * 40, ["x0"], {"rmse": 2.0})
    made = branches((40,), (1,), 1, [8], 8, components=2, enumerated=1, head=ValuesHead([40]))
    rng = generator()
    solutions = 2 * torch.rand(2, 40, generator=rng) - 1
    with torch.no_grad():
        for layer in (made.constants.weight, made.constants.bias, made.solutions.weight):
            layer.zero_()
        made.solutions.bias.copy_(solutions.flatten())
    # the first half of the batch alone fits into a step
    which = torch.tensor([0, 1, 1, 0, 1, 1, 1, 1])
    x, y = solutions[which], which.float().unsqueeze(1)
    objective = SetObjective(weight=1.0, draws=[2, 2], size=8, width=[1e-6, 1e-6], distance_weight=1.0)
    log_prior = made.log_prior(y[:4]).detach().requires_grad_()
    made.log_prior = lambda features: log_prior
    objective(problem, made, x, y, Progress(50, 100), rng).cost.sum().backward()
    # lower cost by more of the component that is the solution
    assert log_prior.grad is not None
    assert torch.equal((log_prior.grad[:, 1] < log_prior.grad[:, 0]).long(), which[:4])


def test_a_network_whose_draws_follow_its_weights_has_no_choice(problem):
    assert network(problem).log_choice(torch.rand(2, 1, 50), torch.rand(2, 3, 2)) is None
