import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from cvae.problems import CallableForward, Gates, Problem
from cvae.problems.refinement import _quadratic, jacobian_of, refine


def general(problem, function=None):
    """The same problem with f as a callable, of which nothing is known."""
    forward = CallableForward(function or problem.forward, {"_target_": "here"}, problem.geometry)
    return Problem(problem.geometry, forward, problem.gates)


def cumulative(x):
    """Each point of y depends on all points of x before it."""
    return (x[..., :1, :] * x[..., 1:2, :]).cumsum(-1) / x.shape[-1]


def at(problem, endpoints):
    return problem.forward(problem.geometry.to_lines(endpoints))


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
def test_both_paths_give_the_gradient_and_normal_matrix_of_finite_differences(problem, generator, forward, points):
    problem = problem(*forward, points=points)
    theta = problem.geometry.sample(6, generator).double()
    y = at(problem, problem.geometry.sample(6, generator).double())
    for each in (problem, general(problem)):
        found = _quadratic(each, theta, y)
        for index in range(6):

            def residual(flat, index=index):
                lines = torch.from_numpy(flat).view(1, 2, 2)
                return (at(problem, lines) - y[index]).flatten().numpy()

            flat = theta[index].flatten().numpy()
            jacobian = differences(residual, flat)
            np.testing.assert_allclose(found.gradient[index], jacobian.T @ residual(flat), atol=1e-6)
            np.testing.assert_allclose(found.normal[index], jacobian.T @ jacobian, atol=2e-5)


@pytest.mark.parametrize("forward", PAIRS)
def test_pointwise_and_general_path_take_the_same_way(problem, generator, forward):
    problem = problem(*forward)
    y = at(problem, problem.geometry.sample(40, generator).double())
    start = problem.geometry.sample(40, generator).double()
    for steps in (1, 4):
        one, two = refine(problem, start, y, steps), refine(general(problem), start, y, steps)
        torch.testing.assert_close(one.endpoints, two.endpoints, rtol=0, atol=1e-6)
        torch.testing.assert_close(one.misfit, two.misfit, rtol=0, atol=1e-6)


def scipy_solution(problem, start, y):
    """Least squares within the range by another implementation (trust region)."""

    def residual(flat):
        return (at(problem, torch.from_numpy(flat).view(1, -1, 2))[0] - y).flatten().numpy()

    tight = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14}
    return least_squares(residual, start.flatten().numpy().clip(1e-6, 1 - 1e-6), bounds=(0, 1), **tight)


@pytest.mark.parametrize(
    ("left", "right"), [((0.1, 0.3), (0.7, 0.9)), ((0.1, 0.3), (1.05, 1.3)), ((-0.4, -0.1), (0.7, 0.9))]
)
def test_least_squares_agree_with_scipy_inside_and_at_the_bounds(problem, generator, left, right):
    problem = problem("exp(2*x0)", directions=["rising"])
    spread = torch.rand(8, 1, 2, generator=generator, dtype=torch.float64)
    low, high = torch.tensor([left[0], right[0]]), torch.tensor([left[1], right[1]])
    y = at(problem, low + (high - low) * spread)
    y = y + 0.1 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    start = problem.geometry.sample(8, generator).double()
    found = refine(problem, start, y, steps=40)
    for index in range(8):
        expected = scipy_solution(problem, start[index], y[index])
        np.testing.assert_allclose(found.endpoints[index].flatten(), expected.x, atol=1e-4)
        assert found.misfit[index].item() == pytest.approx(np.sqrt(2 * expected.cost / 50), rel=1e-6)


def test_the_misfit_of_two_lines_agrees_with_scipy(problem, generator):
    problem = problem("sin(3*x0) + x1**3")
    true = torch.tensor([[0.8, 0.3], [0.2, 0.9]], dtype=torch.float64)
    y = at(problem, true.repeat(6, 1, 1))
    y = y + 0.05 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    start = true + 0.1 * (torch.rand(6, 2, 2, generator=generator, dtype=torch.float64) - 0.5)
    found = refine(problem, start, y, steps=100)
    for index in range(6):
        expected = scipy_solution(problem, start[index], y[index])
        assert found.misfit[index].item() == pytest.approx(np.sqrt(2 * expected.cost / 50), rel=1e-3)


@pytest.mark.parametrize("points", [23, 50, 200])
def test_a_unique_solution_is_found_again(problem, generator, points):
    problem = problem("x0 + x1**2", "x0 - x1", points=points)
    true = problem.geometry.sample(50, generator)
    start = problem.geometry.project(true + 0.05 * torch.randn(true.shape, generator=generator))
    found = refine(problem, start, at(problem, true), steps=40)
    assert found.misfit.max() < 1e-4
    torch.testing.assert_close(found.endpoints, true, rtol=0, atol=2e-3)


FUNCTIONS = [
    ["x0 * x1"],
    ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"],
    ["maximum(x0 - 0.5, 0) * x1"],
    ["tanh(50*(x0 - x1))"],
    ["x0 / x1"],
    ["sqrt(x0 - 0.5) * x1"],
    ["0.3"],
]


@pytest.mark.parametrize("wrap", [lambda p: p, general], ids=["pointwise", "general"])
@pytest.mark.parametrize("forward", FUNCTIONS)
def test_no_solution_gets_worse_or_leaves_what_is_allowed(problem, generator, forward, wrap):
    problem = problem(*forward)
    if forward != ["0.3"]:  # a callable that does not depend on the lines is refused when it is built
        problem = wrap(problem)
    truth = problem.geometry.sample(300, generator)
    truth[:, 0] = truth[:, 0].clamp(min=0.5)
    start = torch.rand(300, 2, 2, generator=generator) * 1.4 - 0.2
    start[:20, 1, 0] = 0
    before = problem.misfit(problem.geometry.to_lines(problem.geometry.project(start)), at(problem, truth))
    found = refine(problem, start, at(problem, truth), steps=8)
    assert found.endpoints.isfinite().all()
    assert (found.misfit <= before).all()
    assert found.endpoints.min() >= 0
    assert found.endpoints.max() <= 1
    assert torch.equal(problem.geometry.project(found.endpoints), found.endpoints)
    again = problem.misfit(problem.geometry.to_lines(found.endpoints), at(problem, truth))
    torch.testing.assert_close(found.misfit, again, rtol=1e-5, atol=1e-6)


def test_where_f_is_constant_a_solution_stays_where_it_is(problem):
    problem = problem("maximum(x0 - 0.5, 0) * x1")
    start = torch.tensor([[[0.4, 0.1], [0.2, 0.8]]])
    y = torch.full((1, 1, 50), 0.2)
    found = refine(problem, start, y)
    assert torch.equal(found.endpoints, start)
    assert found.misfit.item() == pytest.approx(0.2)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_target_is_met_from_above(problem, generator, share):
    problem = problem()
    y = at(problem, problem.geometry.sample(500, generator))
    start = problem.geometry.sample(500, generator)
    target = torch.full((500,), share * 0.05)
    before = problem.misfit(problem.geometry.to_lines(start), y)
    found = refine(problem, start, y, steps=30, target=target)
    outside = before > target
    reached = outside & (found.misfit < target)
    assert outside.float().mean() > 0.8
    assert reached.sum() > 0.95 * outside.sum()
    # a bisection of the last step ends no further below than a 128th of it
    assert (target - found.misfit)[reached].median() < 0.05 * share * 0.05
    assert torch.equal(found.endpoints[~outside], start[~outside])


def test_results_do_not_depend_on_the_chunks(problem, generator):
    problem = problem()
    y = at(problem, problem.geometry.sample(25, generator).double())
    start = problem.geometry.sample(25, generator).double()
    target = torch.rand(25, generator=generator, dtype=torch.float64) * 0.05
    for goal in (None, target):
        whole, pieces = refine(problem, start, y, target=goal), refine(problem, start, y, target=goal, chunk=7)
        torch.testing.assert_close(whole.endpoints, pieces.endpoints)
        torch.testing.assert_close(whole.misfit, pieces.misfit)
        assert whole.evaluations == pieces.evaluations


def test_nothing_to_refine(problem):
    found = refine(problem(), torch.zeros(0, 2, 2), torch.zeros(0, 1, 50))
    assert (found.endpoints.shape, found.misfit.shape, found.evaluations) == ((0, 2, 2), (0,), 0)


class Counted:
    """Counts the solutions that f is evaluated on."""

    def __init__(self, forward):
        self.forward = forward
        self.conditions, self.config = forward.conditions, forward.config
        self.name, self.pointwise = forward.name, forward.pointwise
        self.count = 0

    def __call__(self, x):
        self.count += x.shape[:-2].numel()
        return self.forward(x)


@pytest.mark.parametrize("wrap", [lambda p: p, general], ids=["pointwise", "general"])
@pytest.mark.parametrize("share", [None, 0.5])
def test_evaluations_are_counted(problem, generator, wrap, share):
    problem = wrap(problem())
    counted = Problem(problem.geometry, Counted(problem.forward), Gates(0.9, 0.05))
    y = at(problem, problem.geometry.sample(100, generator))
    start = problem.geometry.sample(100, generator)
    target = None if share is None else torch.full((100,), share * 0.05)
    found = refine(counted, start, y, steps=5, target=target)
    # a derivative counts as one evaluation, although f and its derivative come out of one call
    assert counted.forward.count <= found.evaluations <= 2 * counted.forward.count
    assert refine(problem, start, y, steps=0).evaluations == 100


def test_functions_that_are_not_pointwise(problem, generator):
    problem = general(problem(), cumulative)
    y = at(problem, problem.geometry.sample(60, generator))
    found = refine(problem, problem.geometry.sample(60, generator), y, steps=30)
    assert found.misfit.median() < 1e-4


def test_operations_without_forward_mode(problem, generator):
    problem = problem("x0**2 + x1", "x1**2")

    def squares(x):
        squared = Squared.apply(x)
        return torch.stack([squared[..., 0, :] + x[..., 1, :], squared[..., 1, :]], dim=-2)

    y = at(problem, problem.geometry.sample(30, generator).double())
    start = problem.geometry.sample(30, generator).double()
    one, two = refine(problem, start, y, 5), refine(general(problem, squares), start, y, 5)
    torch.testing.assert_close(one.endpoints, two.endpoints, rtol=0, atol=1e-6)
    assert not two.endpoints.requires_grad


@pytest.mark.parametrize(
    ("forward", "directions"),
    [
        (["x0 + x1 * x2", "x1 - x2", "x0 * x2"], ["falling", "rising", "rising"]),
        (["exp(x0)"], ["falling"]),
    ],
)
def test_three_lines_and_one(problem, generator, forward, directions):
    problem = problem(*forward, directions=directions)
    y = at(problem, problem.geometry.sample(100, generator))
    found = refine(problem, problem.geometry.sample(100, generator), y, steps=40)
    assert (found.misfit < 1e-3).float().mean() > 0.7
