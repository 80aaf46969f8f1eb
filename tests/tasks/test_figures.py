"""Pictures of solutions: what they show, and that they are drawn for any number of parameters."""

import pytest
import torch

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
    assert len(matrix.axes) == size * (size + 1) // 2
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
    panel = problem.figures(found, [reference])["solutions_0"].axes[1]
    invalid, dots, good = panel.collections
    torch.testing.assert_close(torch.tensor(invalid.get_offsets().data).float(), found.x[0, ~valid])
    torch.testing.assert_close(torch.tensor(good.get_offsets().data).float(), found.x[0, valid])
    torch.testing.assert_close(torch.tensor(dots.get_offsets().data).float(), reference[:REFERENCES])
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("x0", "x1")


@pytest.mark.parametrize(("conditions", "panels"), [(1, 1), (3, 3), (6, 4)])
def test_f_of_the_draws_is_shown_against_each_condition(vector_problem, conditions, panels):
    problem = vector_problem(*["x0", "10*x1", "x0*x1", "x0**2", "x1**2", "x0+x1"][:conditions])
    found = drawn(problem)
    figure = problem.figures(found)["forward"]
    assert len(figure.axes) == panels
    for number, axis in enumerate(figure.axes):
        # the gate comes first, then invalid and valid draws
        shown = torch.cat([torch.tensor(marks.get_offsets().data) for marks in axis.collections[1:]]).float()
        given = found.y[:, number].repeat_interleave(6)
        expected = torch.stack([given, problem.forward(found.x)[..., number].flatten()], dim=1)
        assert sorted(shown.tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize("forward", [["x0 * x1"], ["x0 * x1", "cos(4*x0)"]])
def test_lines_have_a_row_for_each_condition(problem, tmp_path, forward):
    problem = problem(*forward)
    found = drawn(problem, conditions=3)
    figure = problem.figures(found)["solutions"]
    assert len(figure.axes) == 3 * (2 + len(forward))
    rows = [axis.get_ylabel() for axis in figure.axes[:: 2 + len(forward)]]
    assert rows == [f"{int(valid.sum())} of 6 valid" for valid in found.check.valid]
    # every draw has a curve in every panel
    curves = figure.axes[0].collections[0].get_segments()
    assert len(curves) == 6
    figure.savefig(tmp_path / "lines.png", dpi=30)
    assert (tmp_path / "lines.png").stat().st_size > 0


def test_draws_that_are_not_finite_leave_a_picture(problem, vector_problem, tmp_path):
    for one in (problem(), vector_problem("x0 / x1")):
        found = drawn(one)
        found.x[0, 1] = torch.nan
        found = one.drawn(found.which, found.x, found.y)
        for name, figure in one.figures(found).items():
            figure.savefig(tmp_path / f"{name}.png", dpi=30)
