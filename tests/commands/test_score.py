"""The command line that scores a file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from cvae.data.layout import to_challenge
from cvae.tasks import Problem

ROOT = Path(__file__).resolve().parents[2]
KEYS = ["score", "coverage", "envelope", "valid", "rmse", "relative_rmse", "pearson", "conditions", "draws"]
Run = Callable[..., Any]


@pytest.fixture
def birds(problem: Callable[..., Problem], work: Path) -> Path:
    """A submission of two conditions whose draws are all exact."""
    two = problem("cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)")
    x = two.space.decode(two.space.sample(2, torch.Generator().manual_seed(0))).repeat_interleave(30, 0)
    torch.save(TensorDataset(to_challenge(x), to_challenge(two.forward(x))), work / "result.pt")
    return work / "result.pt"


def test_as_a_command_it_ends_with_json_and_leaves_nothing(birds: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "score.py"), "file=result.pt", "data=two_birds"]
    done = subprocess.run(command, cwd=birds.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout.splitlines()[-1])
    assert list(content) == KEYS
    assert (content["valid"], content["conditions"], content["draws"]) == (1.0, 2, 30)
    assert content["score"] == content["coverage"] > 0
    assert "coverage" in done.stdout
    assert [path.name for path in birds.parent.iterdir()] == ["result.pt"]


def test_options_change_the_problem_and_the_groups(birds: Path, run_script: Run) -> None:
    done = run_script("score", "file=result.pt", "data=two_birds", "draws=15", "data.directions=[rising,falling]")
    assert done.status == 0
    content = json.loads(done.out.splitlines()[-1])
    assert (content["conditions"], content["draws"], content["valid"]) == (4, 15, 0.0)
    assert "score with data.directions=[falling,rising]" in done.out


def test_vectors(vector_problem: Callable[..., Problem], work: Path, run_script: Run) -> None:
    wave = vector_problem()
    x = wave.space.sample(2, torch.Generator().manual_seed(0)).repeat_interleave(30, 0)
    torch.save(TensorDataset(x, wave.forward(x)), work / "result.pt")
    done = run_script("score", "file=result.pt", "data=sine_wave")
    assert done.status == 0, done.err
    content = json.loads(done.out.splitlines()[-1])
    assert list(content) == [key for key in KEYS if key != "pearson"]
    assert (content["valid"], content["conditions"]) == (1.0, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "file is missing; add file=... to the command line"),
        (["file=none.pt"], "none.pt: no such file"),
        (["file=12"], "file is 12; it must be text"),
        (["file=result.pt", "draws=many"], "draws is 'many'; it must be a whole number"),
        (["file=result.pt"], "result.pt: y has shape"),
        (["file=result.pt", "data=sine_wave"], "result.pt: x has shape"),
        (["file=result.pt", "data=lines"], "data.forward is missing; add data.forward=... to the command line"),
        (["file=result.pt", "data=two_birds", "draws=7"], "60 rows are no multiple of draws=7"),
        (["file=result.pt", "data.directions=[sideways]"], "data.directions holds 'sideways'"),
        (["file=result.pt", "data.forward=['open(1)']"], "unknown function 'open'"),
    ],
)
def test_what_a_user_can_mend_is_one_message(birds: Path, run_script: Run, words: list[str], message: str) -> None:
    done = run_script("score", *words)
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
