"""Positions beside curves: recognised, refused, or left alone."""

import logging

import numpy as np
import pytest
import torch

from cvae.api import conditions
from cvae.data.files import read_conditions

POINTS = 20


@pytest.fixture
def one(problem):
    return problem(points=POINTS)


@pytest.fixture
def write(tmp_path):
    """Writes columns to ``y.csv``, below a line of names."""

    def make(*columns, names="", digits=6):
        path = tmp_path / "y.csv"
        rows = [",".join(f"{value:.{digits}f}" for value in row) for row in zip(*columns, strict=True)]
        path.write_text("\n".join(([names] if names else []) + rows))
        return path

    return make


def bent(count, seed=0):
    return [np.random.default_rng(seed + number).random(POINTS) for number in range(count)]


T = np.linspace(0, 1, POINTS)


@pytest.mark.parametrize(
    ("first", "names", "digits"),
    [
        (T, "t,y", 6),
        (T, "t,y", 2),
        (T, "", 6),
        (T, "position,y", 6),
        (T, "depth,y", 3),
        (np.arange(POINTS), "", 6),
        (np.arange(POINTS) + 1, "n,y", 6),
        (300 + 7 * T, "t,y", 6),
        (300 + 7 * T, "T,y", 2),
        (10 * T, "time,y", 1),
        (0.73 * T, "s,y0", 2),
        (T, "time,gravity", 2),
        (300 + 7 * T, "t,gravity", 6),
        (1950 + np.arange(POINTS), "years,y_1", 6),
    ],
)
def test_a_column_of_positions_is_left_out_and_said(one, write, caplog, first, names, digits):
    (curve,) = bent(1)
    with caplog.at_level(logging.WARNING):
        y = read_conditions(write(first, curve, names=names, digits=digits), one)
    assert y.shape == (1, 1, POINTS)
    np.testing.assert_allclose(y[0, 0], curve, atol=10.0**-digits)
    assert f"is read as the positions of the {POINTS} points" in caplog.text
    assert ",," not in caplog.text


def test_positions_may_stand_behind_the_curves(one, write):
    (curve,) = bent(1)
    y = read_conditions(write(curve, 10 * T, names="y,time"), one)
    np.testing.assert_allclose(y[0, 0], curve, atol=1e-6)


def test_positions_stand_beside_several_curves_and_in_a_row(one, write, tmp_path, caplog):
    curves = bent(3)
    assert read_conditions(write(T, *curves), one).shape == (3, 1, POINTS)
    np.save(tmp_path / "y.npy", np.stack([T, *curves]))
    with caplog.at_level(logging.WARNING):
        found = read_conditions(tmp_path / "y.npy", one)
    torch.testing.assert_close(found[:, 0], torch.tensor(np.stack(curves)).float())
    assert "the first row, from 0 to 1" in caplog.text


def test_of_several_conditions_a_further_column_holds_positions(problem, write, tmp_path):
    two, curves = problem("x0", "x1", points=POINTS), bent(2)
    found = read_conditions(write(300 + 7 * T, *curves), two)
    torch.testing.assert_close(found, torch.tensor(np.stack(curves)).float()[None], atol=1e-5, rtol=0)
    # no column is left over
    assert read_conditions(write(T, curves[0]), two).shape == (1, 2, POINTS)


@pytest.mark.parametrize("names", ["", "y0,y1", "a,b"])
def test_curves_alone_are_left_alone_in_silence(one, write, caplog, names):
    with caplog.at_level(logging.WARNING):
        assert read_conditions(write(*bent(2), names=names), one).shape == (2, 1, POINTS)
    assert not caplog.records


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (0.2 + 0.5 * T, "rises evenly from 0.2 to 0.7"),
        (10 * T, "rises evenly from 0 to 10"),
        (T**2, "only rises from 0 to 1"),
        (1 - T, "only falls from 1 to 0"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_where_positions_may_be_meant_it_is_asked(one, write, made, what, first):
    columns = (made, *bent(1)) if first else (*bent(1), made)
    said = f"the {'first' if first else 'last'} column {what}: positions, or a curve"
    for names in ("", "years,gravity"):
        with pytest.raises(ValueError, match=said):
            read_conditions(write(*columns, names=names, digits=2), one)
    with pytest.raises(ValueError, match=said):
        conditions(one, np.stack(columns, axis=1))
    # names, or a further axis, tell that these are curves
    assert read_conditions(write(*columns, names="y0,y1"), one).shape == (2, 1, POINTS)
    assert conditions(one, np.stack(columns)[:, None]).shape == (2, 1, POINTS)


def test_positions_beside_a_curve_in_an_array_are_left_out(one):
    (curve,) = bent(1)
    found = conditions(one, np.stack([T, curve], axis=1))
    torch.testing.assert_close(found, torch.tensor(curve).float()[None, None])


def test_curves_of_an_array_may_rise_or_fall(one):
    assert conditions(one, np.stack([T**2, 1 - T, *bent(1), T**3])).shape == (4, 1, POINTS)


def test_more_columns_without_the_name_of_a_curve_than_one_are_refused(one, write):
    with pytest.raises(ValueError, match="columns t, error: at most one may hold positions"):
        read_conditions(write(T, *bent(2), names="t,y,error"), one)


def test_a_title_is_no_line_of_names(one, write):
    assert read_conditions(write(*bent(1), names="gravity,observed"), one).shape == (1, 1, POINTS)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (T**2, r"column t holds 20 positions from 0 to 1; the problem has 20 \(data\.points\), evenly spaced and ri"),
        (1 - T, "column t holds 20 positions from 1 to 0"),
        (np.linspace(0, 1, 7), "column t holds 7 positions from 0 to 1"),
    ],
)
def test_other_positions_than_those_of_the_problem_are_refused(one, write, first, message):
    for name in ("t", "x"):
        with pytest.raises(ValueError, match=message.replace("column t", f"column {name}")):
            read_conditions(write(first, bent(1)[0][: len(first)], names=f"{name},y"), one)


def test_a_vector_has_no_positions(vector_problem, write):
    problem = vector_problem("x0", "x1")
    assert read_conditions(write(T, T), problem).shape == (POINTS, 2)
