import importlib
import json
import math
import shutil
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from scipy import stats

from cvae.errors import UserError
from cvae.metrics import Check
from cvae.tasks import Gates, Task, box_problem, line_problem


def draws(problem, count, draws, generator):
    """Conditions of sampled solutions, and as many unrelated noisy draws for each."""
    space = problem.space
    y = problem.forward(space.decode(space.sample(count, generator)))
    x = space.decode(space.sample(count * draws, generator)).unflatten(0, (count, draws))
    return x + 0.05 * torch.randn(x.shape, generator=generator), y


def test_straightness_is_the_pearson_correlation_times_the_slope_sign(problem, generator):
    problem = problem()
    x, y = draws(problem, 3, 4, generator)
    found = problem.check(x, y).straightness
    for index in np.ndindex(3, 4, 2):
        expected = stats.pearsonr(np.arange(50), x[index].double().numpy()).statistic * (-1, 1)[index[-1]]
        assert found[index].item() == pytest.approx(expected, abs=1e-5)


def test_misfit_is_the_rmse(problem, generator):
    problem = problem()
    x, y = draws(problem, 3, 4, generator)
    found = problem.check(x, y).misfit
    for index in np.ndindex(3, 4):
        lines, curve = x[index].double().numpy(), y[index[0], 0].double().numpy()
        assert found[index].item() == pytest.approx(math.sqrt(np.mean((lines[0] * lines[1] - curve) ** 2)), rel=1e-4)


def test_misfit_is_that_of_the_worst_condition(problem, generator):
    problem = problem("x0 * x1", "x0 / 2 + x1 / 4")
    x, y = draws(problem, 3, 4, generator)
    found = problem.check(x, y).misfit
    worst = set()
    for index in np.ndindex(3, 4):
        a, b = x[index].double().numpy()
        errors = np.stack([a * b, a / 2 + b / 4]) - y[index[0]].double().numpy()
        each = np.sqrt(np.mean(errors**2, axis=-1))
        worst.add(int(each.argmax()))
        assert found[index].item() == pytest.approx(each.max(), rel=1e-4)
    assert worst == {0, 1}


def test_the_solution_itself_is_valid(problem, generator):
    problem = problem("x0 * x1", "sin(5*x0 + 3*x1)")
    x = problem.space.decode(problem.space.sample(200, generator))
    check = problem.check(x[:, None], problem.forward(x))
    assert check.valid.all()
    assert check.misfit.max() == 0


def one(problem, x, y):
    """The check of a single draw."""
    return problem.check(x[None, None], y[None]).at((0, 0))


@pytest.fixture
def straight():
    t = torch.linspace(0, 1, 50)
    return torch.stack([0.75 - 0.5 * t, 0.25 + 0.5 * t])


def test_a_misfit_at_the_gate_is_invalid(problem, straight):
    problem = problem("x0 + x1", rmse=0.25)
    y = problem.forward(straight)
    check = one(problem, straight, y + 0.25)
    assert check.misfit == 0.25
    assert not check.valid
    assert one(problem, straight, y + 0.2499).valid


def test_a_straightness_at_the_gate_is_invalid(problem, straight):
    # of five points up, down, up, down, up the correlation with the position is exactly 0
    x = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0]])
    gated = problem("x0", points=5, directions=["rising"], pearson=0.0)
    assert one(gated, x, x).straightness == 0
    assert not one(gated, x, x).valid
    assert one(problem("x0", points=5, directions=["rising"], pearson=-0.01), x, x).valid


@pytest.mark.parametrize("noise", [0.1, 0.15, 0.2, 0.25, 0.3])
def test_the_straightness_gate_agrees_with_scipy(problem, straight, generator, noise):
    problem = problem(pearson=0.7)
    x = (straight + noise * torch.randn(2, 50, generator=generator)).clamp(0, 1)
    signed = [
        sign * stats.pearsonr(np.arange(50), line.double().numpy())[0] for sign, line in zip((-1, 1), x, strict=True)
    ]
    assert bool(one(problem, x, problem.forward(x)).valid) == (min(signed) > 0.7)


@pytest.mark.parametrize(
    ("shift", "inside"), [(0.0, True), (0.9e-6, True), (1.5e-6, False), (-0.9e-6, True), (-1.5e-6, False)]
)
def test_the_range_has_a_millionth_to_spare(problem, shift, inside):
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    problem = problem("x0", directions=["rising"])
    x = (t + shift)[None]
    check = one(problem, x, x)
    assert bool(check.in_range) is inside
    assert bool(check.valid) is inside


def test_the_range_is_that_of_the_lines(problem):
    x = torch.linspace(-2, 3, 50)[None]
    assert one(problem("x0", directions=["rising"], range=[-2, 3]), x, x).valid
    assert not one(problem("x0", directions=["rising"], range=[-2, 2.9]), x, x).in_range


def test_a_wrong_slope_is_invalid(problem, straight):
    problem = problem()
    swapped = straight.flip(0)
    check = one(problem, swapped, problem.forward(straight))
    assert check.misfit < 1e-6
    torch.testing.assert_close(check.straightness, torch.tensor([-1.0, -1.0]))
    assert not check.valid


@pytest.mark.parametrize("height", [0.0, 0.1, 0.3, 0.7, 1.0])
def test_a_constant_line_has_straightness_zero(problem, straight, height):
    problem = problem()
    x = torch.stack([torch.full((50,), height), straight[1]])
    check = one(problem, x, problem.forward(x))
    assert check.straightness[0] == 0
    assert not check.valid


def test_a_slight_slope_is_a_slope(problem, straight):
    problem = problem()
    x = torch.stack([0.5 - 1e-4 * torch.linspace(0, 1, 50), straight[1]])
    assert one(problem, x, problem.forward(x)).valid


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("where", [(0, 0, 0, 7), (0, 0, 1, 49)])
def test_a_draw_that_is_not_finite_is_invalid_and_harms_no_other(problem, straight, bad, where):
    problem = problem()
    x = straight.repeat(2, 2, 1, 1)
    x[where] = bad
    check = problem.check(x, problem.forward(straight)[None].repeat(2, 1, 1))
    assert check.valid.tolist() == [[False, True], [True, True]]
    assert check.in_range.tolist() == [[False, True], [True, True]]
    assert check.misfit[0, 0] == math.inf
    assert check.straightness[0, 0, where[2]] == 0
    assert check.straightness.isfinite().all()


def test_a_condition_that_is_not_finite_makes_draws_invalid(problem, straight):
    problem = problem()
    y = problem.forward(straight)
    y[0, 3] = math.nan
    check = one(problem, straight, y)
    assert check.misfit == math.inf
    assert not check.valid


def test_a_check_keeps_no_graph(problem, straight):
    problem = problem()
    assert not one(problem, straight.clone().requires_grad_(), problem.forward(straight)).misfit.requires_grad


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((3, 2, 50), (3, 1, 50), r"solutions have shape \(3, 2, 50\); expected \(batch, draws, 2, 50\)"),
        ((3, 4, 50, 2), (3, 1, 50), r"solutions have shape \(3, 4, 50, 2\)"),
        ((3, 4, 3, 50), (3, 1, 50), r"solutions have shape \(3, 4, 3, 50\)"),
        ((3, 4, 2, 50), (2, 1, 50), r"conditions have shape \(2, 1, 50\); expected \(3, 1, 50\)"),
        ((3, 4, 2, 50), (3, 50), r"conditions have shape \(3, 50\)"),
        ((3, 4, 2, 50), (3, 2, 50), r"conditions have shape \(3, 2, 50\)"),
    ],
)
def test_other_shapes_are_refused(problem, x, y, message):
    with pytest.raises(ValueError, match=message):
        problem().check(torch.zeros(x), torch.zeros(y))


def test_at_indexes_every_field():
    check = Check(*(torch.arange(6).reshape(2, 3) + 10 * n for n in range(5)))
    assert [field.item() for field in check.at((1, 2))] == [5, 15, 25, 35, 45]
    assert [field.tolist() for field in check.at(0)] == [[10 * n, 10 * n + 1, 10 * n + 2] for n in range(5)]
    assert Check(*check[:3]).at(0)[3:] == (None, None)


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ({"pearson": 1.0, "rmse": 0.05}, r"data.gates.pearson is 1.0; it must be in \[-1, 1\)"),
        ({"pearson": -1.1, "rmse": 0.05}, "data.gates.pearson is -1.1"),
        ({"pearson": math.nan, "rmse": 0.05}, "data.gates.pearson is nan"),
        ({"pearson": 0.9, "rmse": 0.0}, "data.gates.rmse is 0.0; it must be positive"),
        ({"pearson": 0.9, "rmse": math.nan}, "data.gates.rmse is nan"),
    ],
)
def test_senseless_gates_are_refused(gates, message):
    with pytest.raises(UserError, match=message):
        Gates(**gates)


@pytest.mark.parametrize(
    ("gates", "names"),
    [({"pearson": 0.9}, "rmse"), ({"pearson": 0.9, "rmse": 0.1, "r2": 1}, "r2"), ({}, "pearson")],
)
def test_missing_and_unknown_gates_are_named(gates, names):
    with pytest.raises(UserError, match=rf"data.gates must hold pearson and rmse; {names} is missing or unknown"):
        line_problem(50, ["falling"], [0, 1], ["x0"], gates)


def test_the_config_builds_the_same_problem(problem):
    first = problem("x0 / (1 + x1)", "t", points=20, range=(-1, 2), pearson=0.8, rmse=0.1)
    again = instantiate(json.loads(json.dumps(first.config)), _recursive_=False)
    assert again.space.config == first.space.config
    assert again.gates == first.gates
    assert again.config == first.config
    assert again.digest == first.digest


def test_the_digest_tells_problems_apart(problem):
    made = [problem(), problem("x1 * x0"), problem(points=49), problem(rmse=0.1), problem(range=(0, 2))]
    assert len({entry.digest for entry in made}) == len(made)


def test_the_digest_of_a_callable_changes_with_its_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = []
    for source in (
        "x[..., :1, :] * x[..., 1:, :]",
        "x[..., :1, :] * x[..., 1:, :] ** 1.1",
        "x[..., 1:, :] * x[..., :1, :]",
    ):
        (tmp_path / "changing.py").write_text(f"def f(x):\n    return {source}\n")
        monkeypatch.delitem(sys.modules, "changing", raising=False)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        gates = {"pearson": 0.9, "rmse": 0.05}
        made = line_problem(50, ["falling", "rising"], [0, 1], {"_target_": "changing.f"}, gates)
        digests.append(made.digest)
    sys.modules.pop("changing")
    assert digests[0] != digests[1]
    # other words for the same function
    assert digests[0] == digests[2]


def test_the_prior_belongs_to_the_config_and_the_digest():
    arguments = (20, ["rising"], [0, 1], ["x0"], {"pearson": 0.9, "rmse": 0.1})
    first = line_problem(*arguments, prior=["normal", {"mean": 0.3, "std": 0.1}])
    again = instantiate(json.loads(json.dumps(first.config)), _recursive_=False)
    assert again.config == first.config
    assert again.digest == first.digest != line_problem(*arguments).digest


# --- vectors


def vector_draws(problem, count, draws, generator):
    y = problem.forward(problem.space.sample(count, generator))
    return problem.space.sample(count * draws, generator).unflatten(0, (count, draws)), y


def test_problems_are_tasks(problem, vector_problem):
    for each in (problem(), vector_problem()):
        assert isinstance(each, Task)
        assert each.headline == "score"


def test_the_misfit_of_several_expressions_of_a_vector_is_the_largest_absolute_error(vector_problem, generator):
    problem = vector_problem("x0 * x1", "x0 - x1 / 2", "x0**2")
    assert problem.y_shape == (3,)
    x, y = vector_draws(problem, 5, 8, generator)
    a, b = x.double().unbind(-1)
    errors = (torch.stack([a * b, a - b / 2, a**2], dim=-1) - y.double().unsqueeze(1)).abs()
    assert set(errors.argmax(-1).flatten().tolist()) == {0, 1, 2}
    check = problem.check(x, y)
    torch.testing.assert_close(check.misfit.double(), errors.amax(-1), rtol=1e-4, atol=1e-6)
    assert torch.equal(check.valid, check.misfit < 0.05)
    assert check.straightness is None


@pytest.fixture
def spectrum(monkeypatch):
    """A problem whose condition is one spectrum of seven values."""
    module = ModuleType("spectra")
    module.spectrum = lambda x: torch.sin(x[..., :1] * torch.arange(1, 8)) + x[..., 1:]
    monkeypatch.setitem(sys.modules, "spectra", module)
    return box_problem([[-1, 1], [0, 2]], {"_target_": "spectra.spectrum"}, {"rmse": 0.3})


def test_the_misfit_of_a_callable_with_many_values_is_their_rmse(spectrum, generator):
    assert spectrum.y_shape == (7,)
    x, y = vector_draws(spectrum, 5, 8, generator)
    values = np.sin(x[..., :1].double().numpy() * np.arange(1, 8)) + x[..., 1:].double().numpy()
    expected = np.sqrt(np.mean((values - y.double().numpy()[:, None]) ** 2, axis=-1))
    check = spectrum.check(x, y)
    np.testing.assert_allclose(check.misfit.numpy(), expected, rtol=1e-4)
    assert 0 < check.valid.float().mean() < 1
    assert torch.equal(check.valid, check.misfit < 0.3)


def test_a_vector_that_solves_is_valid_and_one_out_of_bounds_is_not(vector_problem):
    problem = vector_problem("x0 + x1", bounds=[[0, 1], [0, 1000]], rmse=0.5)
    x = torch.tensor([[[0.5, 200.0], [1.0, 199.5], [1.01, 199.49], [0.5, 200.6], [-0.1, 200.6]]])
    check = problem.check(x, torch.tensor([[200.5]]))
    assert check.in_range.tolist() == [[True, True, False, True, False]]
    assert check.valid.tolist() == [[True, True, False, False, False]]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_vector_that_is_not_finite_is_invalid_and_harms_no_other(vector_problem, bad):
    problem = vector_problem("x0 * x1")
    check = problem.check(torch.tensor([[[0.5, bad], [0.5, 0.5]]]), torch.tensor([[0.25]]))
    assert check.valid.tolist() == check.in_range.tolist() == [[False, True]]
    assert check.misfit[0].tolist() == [math.inf, 0]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((3, 4, 3), (3, 1), r"solutions have shape \(3, 4, 3\); expected \(batch, draws, 2\)"),
        ((3, 2), (3, 1), r"solutions have shape \(3, 2\)"),
        ((3, 4, 2), (3, 2), r"conditions have shape \(3, 2\); expected \(3, 1\)"),
        ((3, 4, 2), (2, 1), r"conditions have shape \(2, 1\)"),
        ((3, 4, 2), (3,), r"conditions have shape \(3,\)"),
    ],
)
def test_other_shapes_of_vectors_are_refused(vector_problem, x, y, message):
    with pytest.raises(ValueError, match=message):
        vector_problem().check(torch.zeros(x), torch.zeros(y))


@pytest.mark.parametrize(
    ("gates", "names"), [({}, "rmse"), ({"rmse": 0.1, "pearson": 0.9}, "pearson"), ({"mse": 0.1}, "mse")]
)
def test_vectors_have_one_gate(gates, names):
    with pytest.raises(UserError, match=rf"data.gates must hold rmse; {names} is missing or unknown"):
        box_problem([[0, 1]], ["x0"], gates)


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (None, "data.gates is None; it must hold rmse"),
        ({"rmse": "a"}, "data.gates.rmse is 'a'; it must be a number"),
        ({"rmse": None}, "data.gates.rmse is None"),
    ],
)
def test_gates_that_are_no_numbers_are_refused(gates, message):
    with pytest.raises(UserError, match=message):
        box_problem([[0, 1]], ["x0"], gates)


def test_the_config_builds_the_same_problem_of_vectors(spectrum, vector_problem):
    other = box_problem([[0, 1], [0, 2]], ["x0"], {"rmse": 0.1}, ["normal", {"mean": 1, "std": 0.5}])
    for first in (vector_problem("x0 * x1", "x0"), spectrum, other):
        again = instantiate(json.loads(json.dumps(first.config)), _recursive_=False)
        assert again.config == first.config
        assert again.digest == first.digest
        assert again.gates == first.gates


def test_the_digest_tells_problems_of_vectors_apart(vector_problem):
    made = [
        vector_problem("x0"),
        vector_problem("x1"),
        vector_problem("x0", rmse=0.1),
        vector_problem("x0", bounds=[[-1, 1], [-1, 2]]),
        box_problem([[-1, 1], [-1, 1]], ["x0"], {"rmse": 0.05}, "normal"),
    ]
    assert len({entry.digest for entry in made}) == len(made)


def test_measures_are_those_of_the_space(problem, vector_problem, generator):
    common = {"score", "coverage", "envelope", "valid", "rmse", "relative_rmse"}
    assert set(problem().measures()) == common | {"pearson"}
    vectors = vector_problem("x0 * x1")
    measures = vectors.measures()
    assert set(measures) == common
    x, y = vector_draws(vectors, 3, 10, generator)
    drawn = vectors.drawn(torch.arange(3), x, y)
    measures.update(drawn)
    assert torch.equal(drawn.check.valid, vectors.check(x, y).valid)
    assert measures["valid"].compute() == pytest.approx(drawn.check.valid.float().mean().item())


# --- gates and spread


def test_relative_misfit_is_the_largest_share_of_a_spread(problem, generator):
    two = problem("x0 * x1", "100 * x1")
    x = two.space.decode(two.space.sample(12, generator)).unflatten(0, (3, 4))
    y = two.forward(x[:, 0])
    errors = (two.forward(x) - y[:, None]).double().numpy()
    shares = np.sqrt((errors**2).mean(-1)) / np.array(two.spread)
    check = two.check(x, y)
    assert check.relative.numpy() == pytest.approx(shares.max(-1), rel=1e-4)
    assert check.misfit.max() > 10 * check.relative.max()


def test_a_condition_without_a_spread_counts_for_nothing(vector_problem):
    check = vector_problem("x0", "0*x0").check(torch.tensor([[[0.5, 0.0]]]), torch.tensor([[0.0, 7.0]]))
    assert check.misfit.item() == 7
    # uniform on [-1, 1]
    assert check.relative.item() == pytest.approx(0.5 * 3**0.5, rel=0.05)


def test_other_gates_decide_validity_and_leave_the_rest(problem, generator):
    made = problem()
    sharp = made.judged_by({"rmse": 0.001, "pearson": 0.5})
    assert (sharp.gates.rmse, sharp.gates.pearson) == (0.001, 0.5)
    assert made.judged_by({}) == made
    x = made.space.decode(made.space.sample(50, generator)).unsqueeze(0)
    y = made.forward(x[:, 0])
    wide, narrow = made.check(x, y), sharp.check(x, y)
    assert torch.equal(wide.misfit, narrow.misfit)
    assert narrow.valid.sum() == 1 < wide.valid.sum()


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ({"r2": 0.9}, r"gates\.r2 is 0\.9, but this problem has no such gate; it has rmse, pearson"),
        ({"rmse": -1}, r"gates\.rmse is -1"),
        ({"pearson": "high"}, r"gates\.pearson is 'high'; it must be a number"),
    ],
)
def test_other_gates_that_make_no_sense_are_refused(problem, vector_problem, gates, message):
    with pytest.raises(ValueError, match=message):
        problem().judged_by(gates)
    with pytest.raises(ValueError, match=r"pearson is 0\.5, but this problem has no such gate; it has rmse"):
        vector_problem().judged_by({"pearson": 0.5})
