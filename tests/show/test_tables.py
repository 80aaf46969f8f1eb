"""Tables show what they are given, and say in words what a user should know."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import torch

from cvae.generation import Solutions, Stage
from cvae.metrics import Check
from cvae.show.tables import print_scores, print_solutions, print_stages, print_table
from cvae.tasks import Problem


def test_cells_are_readable_and_brackets_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    wide = "w" * 200
    print_table(("name", "value", "count"), [("[red]", 0.123456, 7), (wide, None, 123)], title="a [title]")
    out = capsys.readouterr().out
    for shown in ("a [title]", "[red]", " 0.1235 ", "   7 ", f" {wide} "):
        assert shown in out
    assert "None" not in out


@pytest.mark.parametrize("kind", ["problem", "vector_problem"])
def test_solutions_by_condition(kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    make: Callable[..., Problem] = request.getfixturevalue(kind)
    problem = make()
    x = problem.space.decode(problem.space.sample(24, torch.Generator().manual_seed(0))).unflatten(0, (12, 2))
    check = problem.check(x, problem.forward(x[:, 0]))
    print_solutions(check)
    shown = capsys.readouterr().out
    assert f"{int(check.valid.sum())} of 24" in shown
    assert ("straightness" in shown) == (kind == "problem")
    assert "..." in shown
    assert "no draw is valid" not in shown


def test_it_is_told_when_nothing_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    none = torch.zeros(1, 3, dtype=torch.bool)
    print_solutions(Check(torch.tensor([[0.5, 0.25, 1.0]]), ~none, none))
    assert "no draw is valid, the smallest misfit is 0.25" in capsys.readouterr().out


def test_stages_and_what_they_cost(capsys: pytest.CaptureFixture[str]) -> None:
    none = torch.zeros(1, 3, dtype=torch.bool)
    check = Check(torch.ones(1, 3), none, none)
    print_stages(Solutions(torch.zeros(1, 3, 2), check, {"draw": Stage(30, 0.5, 0.25, 0.125)}, 17, 19))
    out = capsys.readouterr().out
    assert [cell.strip() for cell in out.splitlines()[3].strip("│").split("│")] == [
        "draw",
        "30",
        "0.5",
        "0.25",
        "0.125",
    ]
    assert "17 draws decoded by the network, 19 evaluations of f" in out


def test_the_last_line_of_scores_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores({"score": 0.5, "rmse": math.nan, "draws": 30}, "something [in brackets]")
    out = capsys.readouterr().out
    assert "something [in brackets]" in out
    assert json.loads(out.splitlines()[-1]) == {"score": 0.5, "rmse": None, "draws": 30}
