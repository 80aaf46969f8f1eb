import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from cvae.inversion import jacobian_of, refine, scaled_jacobian
from cvae.tasks import CallableForward, Problem


def general(problem, function=None):
    """The same problem with f as a callable, of which nothing is known."""
    forward = CallableForward(function or problem.forward, {"_target_": "here"}, problem.space)
    return Problem(problem.space, forward, problem.gates)


def cumulative(x):
    """Each point of y depends on all points of x before it."""
    return (x[..., :1, :] * x[..., 1:2, :]).cumsum(-1) / x.shape[-1]


def at(problem, theta):
    return problem.forward(problem.space.decode(theta))


def differences(function, point, step=1e-6):
    """Jacobian of a function of one vector by central differences."""
    columns = []
    for number in range(len(point)):
        shift = np.zeros(len(point))
        shift[number] = step
        columns.append((function(point + shift) - function(point - shift)) / (2 * step))
    return np.stack(columns, axis=-1)


class Squared(torch.autograd.Function):
    """Has a derivative, but none in forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


@pytest.mark.parametrize(
    "function",
    [
        lambda z: torch.stack([z[:, 0] * z[:, 1], z[:, 2].sin(), z.sum(1).exp(), z[:, 1] ** 3], dim=1),
        lambda z: z.cumsum(1) * z[:, :1],
        lambda z: Squared.apply(z) * z[:, :1],
    ],
)
def test_jacobians_agree_with_finite_differences(function, generator):
    z = torch.rand(5, 3, generator=generator, dtype=torch.float64) + 0.5
    values, jacobian = jacobian_of(function, z)
    assert torch.equal(values, function(z))
    for one, point in zip(jacobian, z, strict=True):
        expected = differences(lambda v: function(torch.from_numpy(v)[None])[0].numpy(), point.numpy())
        np.testing.assert_allclose(one.numpy(), expected, atol=1e-8)


def test_an_operation_without_forward_mode_is_among_those_above():
    z = torch.rand(2, 3)
    with pytest.raises(RuntimeError):
        torch.func.jvp(Squared.apply, (z,), (z,))


PAIRS = [
    ["x0 * x1"],
    ["sin(5*x0 + 3*x1)", "cos(4*x0 + 8*x1)"],
    ["exp(x0 * x1) + t"],
    ["maximum(x0 - 0.5, 0) * x1"],
    ["x1"],
]


@pytest.mark.parametrize("forward", PAIRS)
@pytest.mark.parametrize("points", [23, 50])
@pytest.mark.parametrize("span", [1.0, 3.0])
def test_the_jacobian_by_shares_of_the_ranges_is_that_of_finite_differences(problem, generator, forward, points, span):
    problem = problem(*forward, points=points, range=[0, span])
    theta = problem.space.sample(6, generator).double()
    for each in (problem, general(problem)):
        values, jacobian = scaled_jacobian(each, theta)
        torch.testing.assert_close(values, at(problem, theta).flatten(1))
        for index in range(6):

            def function(shares):
                return at(problem, torch.from_numpy(span * shares)[None]).flatten().numpy()

            expected = differences(function, theta[index].numpy() / span)
            np.testing.assert_allclose(jacobian[index], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("forward", PAIRS)
def test_expressions_and_a_callable_take_the_same_way(problem, generator, forward):
    problem = problem(*forward)
    y = at(problem, problem.space.sample(40, generator).double())
    start = problem.space.sample(40, generator).double()
    for steps in (1, 4):
        one, two = refine(problem, start, y, steps), refine(general(problem), start, y, steps)
        torch.testing.assert_close(one.theta, two.theta, rtol=0, atol=1e-6)
        torch.testing.assert_close(one.misfit, two.misfit, rtol=0, atol=1e-6)


def scipy_solution(problem, start, y):
    """Least squares within the range by another implementation (trust region)."""

    def residual(flat):
        return (at(problem, torch.from_numpy(flat)[None])[0] - y).flatten().numpy()

    tight = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14}
    return least_squares(residual, start.numpy().clip(1e-6, 1 - 1e-6), bounds=(0, 1), **tight)


@pytest.mark.parametrize(
    ("left", "right"), [((0.1, 0.3), (0.7, 0.9)), ((0.1, 0.3), (1.05, 1.3)), ((-0.4, -0.1), (0.7, 0.9))]
)
def test_least_squares_agree_with_scipy_inside_and_at_the_bounds(problem, generator, left, right):
    problem = problem("exp(2*x0)", directions=["rising"])
    spread = torch.rand(8, 2, generator=generator, dtype=torch.float64)
    low, high = torch.tensor([left[0], right[0]]), torch.tensor([left[1], right[1]])
    y = at(problem, low + (high - low) * spread)
    y = y + 0.1 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    start = problem.space.sample(8, generator).double()
    found = refine(problem, start, y, steps=40)
    for index in range(8):
        expected = scipy_solution(problem, start[index], y[index])
        np.testing.assert_allclose(found.theta[index], expected.x, atol=1e-4)
        assert found.misfit[index].item() == pytest.approx(np.sqrt(2 * expected.cost / 50), rel=1e-6)


def test_the_misfit_of_two_lines_agrees_with_scipy(problem, generator):
    problem = problem("sin(3*x0) + x1**3")
    true = torch.tensor([0.8, 0.3, 0.2, 0.9], dtype=torch.float64)
    y = at(problem, true.repeat(6, 1))
    y = y + 0.05 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    start = true + 0.1 * (torch.rand(6, 4, generator=generator, dtype=torch.float64) - 0.5)
    found = refine(problem, start, y, steps=100)
    for index in range(6):
        expected = scipy_solution(problem, start[index], y[index])
        assert found.misfit[index].item() == pytest.approx(np.sqrt(2 * expected.cost / 50), rel=1e-3)


@pytest.mark.parametrize("points", [23, 50, 200])
def test_a_unique_solution_is_found_again(problem, generator, points):
    problem = problem("x0 + x1**2", "x0 - x1", points=points)
    true = problem.space.sample(50, generator)
    start = problem.space.project(true + 0.05 * torch.randn(true.shape, generator=generator))
    found = refine(problem, start, at(problem, true), steps=40)
    assert found.misfit.max() < 1e-4
    torch.testing.assert_close(found.theta, true, rtol=0, atol=2e-3)


FUNCTIONS = [
    ["x0 * x1"],
    ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"],
    ["maximum(x0 - 0.5, 0) * x1"],
    ["tanh(50*(x0 - x1))"],
    ["x0 / x1"],
    ["sqrt(x0 - 0.5) * x1"],
    ["0.3"],
]


@pytest.mark.parametrize("wrap", [lambda p: p, general], ids=["expressions", "callable"])
@pytest.mark.parametrize("forward", FUNCTIONS)
def test_no_solution_gets_worse_or_leaves_what_is_allowed(problem, generator, forward, wrap):
    problem = problem(*forward)
    if forward != ["0.3"]:  # a callable that does not depend on the lines is refused when it is built
        problem = wrap(problem)
    truth = problem.space.sample(300, generator)
    truth[:, :2] = truth[:, :2].clamp(min=0.5)
    start = torch.rand(300, 4, generator=generator) * 1.4 - 0.2
    start[:20, 2] = 0
    before = problem.misfit(problem.space.decode(problem.space.project(start)), at(problem, truth))
    found = refine(problem, start, at(problem, truth), steps=8)
    assert found.theta.isfinite().all()
    assert (found.misfit <= before).all()
    assert found.theta.min() >= 0
    assert found.theta.max() <= 1
    assert torch.equal(problem.space.project(found.theta), found.theta)
    again = problem.misfit(problem.space.decode(found.theta), at(problem, truth))
    torch.testing.assert_close(found.misfit, again, rtol=1e-5, atol=1e-6)


def test_where_f_is_constant_a_solution_stays_where_it_is(problem):
    problem = problem("maximum(x0 - 0.5, 0) * x1")
    start = torch.tensor([[0.4, 0.1, 0.2, 0.8]])
    y = torch.full((1, 1, 50), 0.2)
    found = refine(problem, start, y)
    assert torch.equal(found.theta, start)
    assert found.misfit.item() == pytest.approx(0.2)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_target_is_met_from_above(problem, generator, share):
    problem = problem()
    y = at(problem, problem.space.sample(500, generator))
    start = problem.space.sample(500, generator)
    target = torch.full((500,), share * 0.05)
    before = problem.misfit(problem.space.decode(start), y)
    found = refine(problem, start, y, steps=30, target=target)
    outside = before > target
    reached = outside & (found.misfit < target)
    assert outside.float().mean() > 0.8
    assert reached.sum() > 0.95 * outside.sum()
    # a bisection of the last step ends no further below than a 128th of it
    assert (target - found.misfit)[reached].median() < 0.05 * share * 0.05
    assert torch.equal(found.theta[~outside], start[~outside])


def test_results_do_not_depend_on_the_chunks(problem, generator):
    problem = problem()
    y = at(problem, problem.space.sample(25, generator).double())
    start = problem.space.sample(25, generator).double()
    target = torch.rand(25, generator=generator, dtype=torch.float64) * 0.05
    for goal in (None, target):
        whole, pieces = refine(problem, start, y, target=goal), refine(problem, start, y, target=goal, chunk=7)
        torch.testing.assert_close(whole.theta, pieces.theta)
        torch.testing.assert_close(whole.misfit, pieces.misfit)
        assert whole.evaluations == pieces.evaluations


def test_nothing_to_refine(problem):
    found = refine(problem(), torch.zeros(0, 4), torch.zeros(0, 1, 50))
    assert (found.theta.shape, found.misfit.shape, found.evaluations) == ((0, 4), (0,), 0)


class Counted:
    """Counts the solutions that f is evaluated on."""

    def __init__(self, forward):
        self.forward = forward
        self.conditions, self.y_shape = forward.conditions, forward.y_shape
        self.config, self.name = forward.config, forward.name
        self.count = 0

    def __call__(self, x):
        self.count += x.shape[:-2].numel()
        return self.forward(x)


@pytest.mark.parametrize("wrap", [lambda p: p, general], ids=["expressions", "callable"])
@pytest.mark.parametrize("share", [None, 0.5])
def test_evaluations_are_counted(problem, generator, wrap, share):
    problem = wrap(problem())
    counted = Problem(problem.space, Counted(problem.forward), problem.gates)
    y = at(problem, problem.space.sample(100, generator))
    start = problem.space.sample(100, generator)
    target = None if share is None else torch.full((100,), share * 0.05)
    found = refine(counted, start, y, steps=5, target=target)
    # the value counts with each Jacobian, although it comes out of the same calls
    assert counted.forward.count <= found.evaluations <= 2 * counted.forward.count
    assert refine(problem, start, y, steps=0).evaluations == 100


def test_functions_that_are_not_pointwise(problem, generator):
    problem = general(problem(), cumulative)
    y = at(problem, problem.space.sample(60, generator))
    found = refine(problem, problem.space.sample(60, generator), y, steps=30)
    assert found.misfit.median() < 1e-4


def test_operations_without_forward_mode(problem, generator):
    problem = problem("x0**2 + x1", "x1**2")

    def squares(x):
        squared = Squared.apply(x)
        return torch.stack([squared[..., 0, :] + x[..., 1, :], squared[..., 1, :]], dim=-2)

    y = at(problem, problem.space.sample(30, generator).double())
    start = problem.space.sample(30, generator).double()
    one, two = refine(problem, start, y, 5), refine(general(problem, squares), start, y, 5)
    torch.testing.assert_close(one.theta, two.theta, rtol=0, atol=1e-6)
    assert not two.theta.requires_grad


@pytest.mark.parametrize(
    ("forward", "directions"),
    [
        (["x0 + x1 * x2", "x1 - x2", "x0 * x2"], ["falling", "rising", "rising"]),
        (["exp(x0)"], ["falling"]),
    ],
)
def test_three_lines_and_one(problem, generator, forward, directions):
    problem = problem(*forward, directions=directions)
    y = at(problem, problem.space.sample(100, generator))
    found = refine(problem, problem.space.sample(100, generator), y, steps=40)
    assert (found.misfit < 1e-3).float().mean() > 0.7


# --- vectors


BADLY_SCALED = [[0.0, 1.0], [0.0, 1000.0]]


def in_box(problem, start, y):
    """Least squares within the bounds by another implementation (trust region)."""
    low, high = np.array(problem.space.bounds).T
    tight = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14, "x_scale": high - low, "bounds": (low, high)}
    inside = start.numpy().clip(low + 1e-6 * (high - low), high - 1e-6 * (high - low))
    return least_squares(lambda x: (problem.forward(torch.from_numpy(x)[None])[0] - y).numpy(), inside, **tight)


def starts_near(problem, true, generator):
    shift = 0.1 * torch.randn(true.shape, generator=generator, dtype=torch.float64) * problem.space.span(true)
    return problem.space.project(true + shift)


def test_solutions_in_a_badly_scaled_box_are_those_of_scipy(vector_problem, generator):
    problem = vector_problem("exp(x0) + x1/1000", "x0 - (x1/1000)**2", bounds=BADLY_SCALED)
    true = problem.space.sample(20, generator).double()
    y, start = problem.forward(true), starts_near(problem, true, generator)
    found = refine(problem, start, y, steps=40)
    assert found.misfit.max() < 1e-5
    for index in range(20):
        expected = in_box(problem, start[index], y[index])
        np.testing.assert_allclose(found.theta[index].numpy() / [1, 1000], expected.x / [1, 1000], atol=1e-4)


@pytest.mark.parametrize("shift", [0.0, 0.5, -0.5])
def test_least_squares_in_a_badly_scaled_box_agree_with_scipy_inside_and_at_the_bounds(
    vector_problem, generator, shift
):
    t = torch.linspace(0, 1, 30, dtype=torch.float64)
    # one condition of thirty values, whose misfit is what least squares are about
    problem = general(
        vector_problem("x0 + x1", bounds=BADLY_SCALED),
        lambda x: torch.exp(x[..., :1] * t.to(x)) + x[..., 1:] / 1000 * (1 - t.to(x)),
    )
    true = problem.space.sample(12, generator).double() + shift * torch.tensor([1.0, 1000.0])
    y = problem.forward(true)
    y = y + 0.1 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    start = starts_near(problem, true, generator)
    found = refine(problem, start, y, steps=100)
    at_bounds = 0
    for index in range(12):
        expected = in_box(problem, start[index], y[index])
        assert found.misfit[index].item() == pytest.approx(np.sqrt(2 * expected.cost / 30), rel=1e-6)
        np.testing.assert_allclose(found.theta[index].numpy() / [1, 1000], expected.x / [1, 1000], atol=1e-3)
        at_bounds += np.abs(expected.x / [1, 1000] - 0.5).max() > 0.4999
    assert at_bounds == 0 if shift == 0 else at_bounds > 4


def test_the_scale_of_a_parameter_changes_nothing(vector_problem, generator):
    unit = vector_problem("exp(x0) * x1", "x0 - sin(3*x1)", bounds=[[0, 1], [0, 1]])
    scaled = vector_problem("exp(x0) * x1/1000", "x0 - sin(3*x1/1000)", bounds=BADLY_SCALED)
    y = unit.forward(unit.space.sample(50, generator).double())
    start = unit.space.sample(50, generator).double()
    one, other = refine(unit, start, y, 8), refine(scaled, start * torch.tensor([1.0, 1000.0]), y, 8)
    torch.testing.assert_close(other.theta / torch.tensor([1.0, 1000.0]).double(), one.theta, rtol=0, atol=1e-7)
    torch.testing.assert_close(other.misfit, one.misfit, rtol=1e-5, atol=1e-7)
    assert one.evaluations == other.evaluations


@pytest.mark.parametrize("forward", [["x0 * x1"], ["sqrt(x0 - 0.5) * x1"], ["x0 / x1", "x0 + x1"], ["0.3"]])
def test_no_vector_gets_worse_or_leaves_its_box(vector_problem, generator, forward):
    problem = vector_problem(*forward, bounds=[[0, 1], [-2, 2]])
    truth = problem.space.sample(300, generator)
    truth[:, 0] = truth[:, 0].clamp(min=0.5)
    y, start = problem.forward(truth), 4 * torch.rand(300, 2, generator=generator) - 2
    before = problem.misfit(problem.space.project(start), y)
    found = refine(problem, start, y, steps=8)
    assert found.theta.isfinite().all()
    assert (found.misfit <= before).all()
    assert torch.equal(problem.space.project(found.theta), found.theta)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_target_is_met_from_above_by_vectors(vector_problem, generator, share):
    problem = vector_problem("x0**2 + x1/1000", bounds=BADLY_SCALED)
    y = problem.forward(problem.space.sample(300, generator))
    start = problem.space.sample(300, generator)
    target = torch.full((300,), share * 0.05)
    outside = problem.misfit(start, y) > target
    found = refine(problem, start, y, steps=30, target=target)
    reached = outside & (found.misfit < target)
    assert outside.float().mean() > 0.8
    assert reached.sum() > 0.95 * outside.sum()
    assert (target - found.misfit)[reached].median() < 0.05 * share * 0.05 + 0.001
    assert torch.equal(found.theta[~outside], start[~outside])


def test_a_callable_with_many_values_is_refined(vector_problem, generator):
    times = torch.linspace(0, 1, 40, dtype=torch.float64)
    problem = general(
        vector_problem("x0 + x1 + x2", bounds=[[0.5, 2], [0, 1000], [-1, 1]]),
        lambda x: x[..., :1] * torch.exp(-times.to(x) * x[..., 1:2] / 500) + x[..., 2:],
    )
    true = problem.space.sample(40, generator).double()
    true[:, 1] = true[:, 1].clamp(min=200)
    start = problem.space.project(true + 0.05 * torch.randn(40, 3, generator=generator) * problem.space.span(true))
    found = refine(problem, start, problem.forward(true), steps=60)
    assert found.misfit.max() < 1e-5
    torch.testing.assert_close(problem.space.scaled(found.theta), problem.space.scaled(true), rtol=0, atol=1e-2)
