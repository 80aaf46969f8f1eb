"""Tables show what they are given, and say in words what a user should know."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from cvae.generation import Solutions, Stage
from cvae.metrics import Check
from cvae.show.tables import example, print_scores, print_solutions, print_stages, print_summary, print_table
from cvae.tasks import Digits, GaussianMixture, GenerationTask, Problem, Task, line_problem
from cvae.tasks.digits import digits_of


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
    print_solutions(check, 0.05)
    shown = capsys.readouterr().out
    assert f"{int(check.valid.sum())} of 24" in shown
    assert ("straightness" in shown) == (kind == "problem")
    assert "..." in shown
    assert "no draw is valid" not in shown


def test_how_complete_each_answer_is_has_columns_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    valid = torch.ones(2, 3, dtype=torch.bool)
    told = {"found": torch.tensor([4, 1]), "unseen": torch.tensor([0.25, 0.0])}
    print_solutions(Check(torch.zeros(2, 3), valid, valid), 0.01, told)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    rows = {cells[0]: cells[-2:] for cells in lines if cells}
    assert rows == {"0": ["4", "0.25"], "1": ["1", "0"], "all 2": ["2.5", "0.125"]}


def test_it_is_told_when_nothing_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    none = torch.zeros(2, 3, dtype=torch.bool)
    valid = torch.tensor([[False] * 3, [True] * 3])
    misfit = torch.tensor([[0.5, 0.013, 1.0], [0.001, 0.002, 0.003]])
    print_solutions(Check(misfit, ~none, valid), 0.01)
    out = capsys.readouterr().out
    assert "gate: misfit below 0.01" in out
    assert "no draw is valid for 1 of 2 conditions; the smallest misfit is 0.013" in out
    assert "the gate 0.01. If y carries noise of that size, no x can pass: make the gate the noise level" in out
    print_solutions(Check(misfit, ~none, valid), 0.05)
    assert "less than the gate 0.05, but those leave the range or are not straight" in capsys.readouterr().out


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
    print_scores({"score": 0.5, "rmse": math.nan, "draws": 30}, "something [in brackets]", "python this.py")
    out = capsys.readouterr().out
    assert "something [in brackets]" in out
    assert out.splitlines()[-2] == "next: python this.py"
    assert json.loads(out.splitlines()[-1]) == {"score": 0.5, "rmse": None, "draws": 30}


@pytest.mark.parametrize("kind", ["problem", "vector_problem", "digits", "points"])
def test_a_training_ends_with_the_command_that_uses_it(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    others: dict[str, Task] = {"digits": Digits(8), "points": GaussianMixture()}
    task = others[kind] if kind in others else request.getfixturevalue(kind)()
    kept = tmp_path / "loss=mse,seed=1" / "best.ckpt"
    print_summary({"val/score": 0.5}, tmp_path, str(kept), task)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("next: "))
    _, script, *words = shlex.split(line.removeprefix("next: "))
    assert Path(script).name == "generate.py"
    with initialize_config_dir(str(Path(__file__).resolve().parents[2] / "conf"), version_base="1.3"):
        cfg = compose("generate", words)
    assert cfg.checkpoint == str(kept)
    assert (cfg.unseen > 0) == isinstance(task, Problem)
    if isinstance(task, GenerationTask):
        assert cfg.condition is None  # these two need no list of numbers
        assert len(task.conditions([] if cfg.number is None else digits_of(cfg.number))) > 0


def test_a_run_that_kept_nothing_names_no_next_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    print_summary({}, tmp_path, None, Digits(8))
    assert "next" not in capsys.readouterr().out


def test_a_function_of_the_user_is_allowed_by_name() -> None:
    problem = line_problem(50, ["falling"], [0, 1], {"_target_": "torch.square"}, {"pearson": 0.9, "rmse": 0.1})
    assert "allow=[torch.square]" in example(problem)
