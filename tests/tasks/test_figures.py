"""Pictures of solutions: what they show, and that they are drawn for any number of parameters."""

import pytest
import torch

from cvae.tasks import box_problem
from cvae.tasks.figures import FEW, REFERENCES


def drawn(problem, conditions=2, draws=6):
    """Draws of which the first of each condition is exact."""
    theta = problem.space.sample(conditions * draws, torch.Generator().manual_seed(0))
    x = problem.space.decode(theta).unflatten(0, (conditions, draws))
    return problem.drawn(torch.arange(conditions), x, problem.forward(x[:, 0]))


def vectors(vector_problem, parameters):
    bounds = [[-1, 1], [10, 20], [-1e-3, 1e-3], *[[0, 1]] * 6][:parameters]
    return vector_problem("x0", f"x{parameters - 1}", bounds=bounds)


@pytest.mark.parametrize(
    ("parameters", "size", "references"),
    [(1, 1, 0), (1, 1, 3), (2, 2, 0), (2, 2, 3), (2, 2, FEW + 1), (3, 3, 3), (9, 8, FEW + 1)],
)
def test_each_condition_of_vectors_has_a_scatter_matrix(vector_problem, tmp_path, parameters, size, references):
    problem = vectors(vector_problem, parameters)
    known = [problem.space.sample(references, torch.Generator().manual_seed(1))]
    figures = problem.figures(drawn(problem), known)
    assert set(figures) == {"forward", "solutions_0", "solutions_1"}
    matrix = figures["solutions_0"]
    # and the misfits of the draws
    assert len(matrix.axes) == size * (size + 1) // 2 + 1
    title = matrix.get_suptitle()
    assert "of 6 draws valid" in title
    assert (f"{references} reference solutions" in title) is (references > 0)
    assert ("the first 8 of 9 parameters" in title) is (parameters == 9)
    # the second condition has no reference set
    assert "reference solutions" not in figures["solutions_1"].get_suptitle()
    matrix.savefig(tmp_path / "matrix.png", dpi=30)
    assert (tmp_path / "matrix.png").stat().st_size > 0


def test_valid_and_invalid_draws_and_references_are_told_apart(vector_problem):
    problem = vector_problem("x0 * x1")
    found = drawn(problem, conditions=1)
    valid = found.check.valid[0]
    assert 0 < valid.sum() < 6
    reference = problem.space.sample(2 * REFERENCES, torch.Generator().manual_seed(1))
    panel = problem.figures(found, [reference])["solutions_0"].axes[2]
    invalid, dots, good = panel.collections
    torch.testing.assert_close(torch.tensor(invalid.get_offsets().data).float(), found.x[0, ~valid])
    torch.testing.assert_close(torch.tensor(good.get_offsets().data).float(), found.x[0, valid])
    torch.testing.assert_close(torch.tensor(dots.get_offsets().data).float(), reference[:REFERENCES])
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("x0 (data units)", "x1 (data units)")


def test_the_diagonal_shows_invalid_draws_too(vector_problem):
    problem = vector_problem("x0 * x1")
    found = drawn(problem, conditions=1)
    found = problem.drawn(found.which, found.x, found.y + 10)
    assert not found.check.valid.any()
    _, first, _, second = problem.figures(found)["solutions_0"].axes
    for column, axis in enumerate((first, second)):
        (shown,) = axis.patches
        bottom, top = shown.get_xy()[:, 1].min(), shown.get_xy()[:, 1].max()
        width = 2 / 25
        largest = torch.histc(found.x[0, :, column], bins=25, min=-1, max=1).max().item()
        assert bottom == 0
        assert top == pytest.approx(largest / (6 * width))


@pytest.mark.parametrize(("conditions", "panels"), [(1, 1), (3, 3), (6, 4)])
def test_f_of_the_draws_is_shown_against_each_condition(vector_problem, conditions, panels):
    problem = vector_problem(*["x0", "10*x1", "x0*x1", "x0**2", "x1**2", "x0+x1"][:conditions])
    found = drawn(problem)
    figure = problem.figures(found)["forward"]
    assert len(figure.axes) == panels
    for number, axis in enumerate(figure.axes):
        # y is one number, of which the gate is a band
        assert "gate, y ± 0.05" in [text.get_text() for text in axis.get_legend().get_texts()]
        # the gate comes first, then invalid and valid draws
        shown = torch.cat([torch.tensor(marks.get_offsets().data) for marks in axis.collections[1:]]).float()
        given = found.y[:, number].repeat_interleave(6)
        expected = torch.stack([given, problem.forward(found.x)[..., number].flatten()], dim=1)
        assert sorted(shown.tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize("forward", [["x0 * x1"], ["x0 * x1", "cos(4*x0)"]])
def test_lines_have_a_figure_for_each_condition(problem, tmp_path, forward):
    problem = problem(*forward)
    found = drawn(problem, conditions=3)
    figures = problem.figures(found)
    assert list(figures) == ["solutions_0", "solutions_1", "solutions_2"]
    for row, figure in enumerate(figures.values()):
        # lines, then f(x') and the misfits of each condition
        assert len(figure.axes) == 2 + 2 * len(forward)
        title = figure.get_suptitle()
        assert f"condition {row}: {int(found.check.valid[row].sum())} of 6 draws valid" in title
        assert "below 0.05, 0.31" in title
        # every draw has a curve in every panel, and no band is drawn around y
        for axis in (*figure.axes[:3], figure.axes[2 + 2 * (len(forward) - 1)]):
            (curves,) = axis.collections
            assert len(curves.get_segments()) == 6
    figure.savefig(tmp_path / "lines.png", dpi=30)
    assert (tmp_path / "lines.png").stat().st_size > 0


def test_misfits_lie_beside_a_line_at_the_gate(problem):
    problem = problem("x0 * x1", "3 * x0", rmse=0.1)
    found = drawn(problem, conditions=1, draws=20)
    figure = problem.figures(found)["solutions_0"]
    errors = (problem.forward(found.x[0]) - found.y[0]).square().mean(-1).sqrt()
    for condition, axis in enumerate(figure.axes[3::2]):
        assert [line.get_xdata()[0] for line in axis.lines] == [0.1]
        shown = torch.cat([torch.tensor(marks.get_offsets().data) for marks in axis.collections]).float()
        expected = errors[:, condition].sort().values.clamp(max=0.4)
        torch.testing.assert_close(shown[shown[:, 1].argsort()][:, 0], expected, atol=1e-6, rtol=0)
        passing, beyond = int((errors[:, condition] < 0.1).sum()), int((errors[:, condition] > 0.4).sum())
        assert axis.get_title() == f"{passing} of 20 pass the gate 0.1"
        assert (f"{beyond} lie beyond" in axis.get_xlabel()) == (beyond > 0)
    assert 0 < beyond < 20


def test_curves_that_a_panel_cuts_off_are_counted(problem):
    made = problem()
    t = torch.linspace(0, 1, 50)
    falling, rising = 0.9 - 0.5 * t, 0.2 + 0.6 * t
    x = torch.stack([torch.stack([scale * falling, rising]) for scale in (1, 1.01, 3, 4)])[None]
    left, right, fitted = made.figures(made.drawn(torch.arange(1), x, (falling * rising)[None, None]))[
        "solutions_0"
    ].axes[:3]
    assert left.get_ylabel() == "x0 (data units; 2 outside)"
    assert right.get_ylabel() == "x1 (data units)"
    assert fitted.get_ylabel() == "y (data units; 2 outside)"


def test_the_title_says_why_draws_are_invalid(problem):
    made = problem()
    t = torch.linspace(0, 1, 50)
    falling, rising = 0.9 - 0.5 * t, 0.2 + 0.6 * t
    x = torch.stack([
        torch.stack([falling, rising]),  # solves y
        torch.stack([falling, 0.3 * rising]),  # misses it
        torch.stack([2 * falling, rising / 2]),  # leaves the range
        torch.stack([falling, rising + 0.2 * torch.sin(30 * t)]),  # is bent
    ])[None]  # fmt: skip
    y = (falling * rising)[None, None]
    title = made.figures(made.drawn(torch.arange(1), x, y))["solutions_0"].get_suptitle()
    assert "1 of 4 draws valid (grey: invalid; 2 miss y, 1 leave the range, 1 are bent, flat or run the wrong" in title


def test_a_vector_of_several_values_has_no_band(vector_problem, spectrum):
    figure = spectrum.figures(drawn(spectrum))["forward"]
    assert "RMSE over the 3 values below 0.3" in figure.get_suptitle()
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [text.partition(",")[0] for text in shown] == ["invalid", "valid"]


def sweep(x):
    return torch.cat([x.sin(), x.sum(-1, keepdim=True)], dim=-1)


@pytest.fixture
def spectrum():
    return box_problem([[-1, 1], [0, 2]], {"_target_": "tests.tasks.test_figures.sweep"}, {"rmse": 0.3})


def test_draws_that_are_not_finite_leave_a_picture(problem, vector_problem, tmp_path):
    for one in (problem(), vector_problem("x0 / x1")):
        found = drawn(one)
        found.x[0, 1] = torch.nan
        found = one.drawn(found.which, found.x, found.y)
        for name, figure in one.figures(found).items():
            figure.savefig(tmp_path / f"{name}.png", dpi=30)
