"""Whether the misfit leads to a solution from afar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cvae.inversion import gradient_alignment, has_isolated_solutions
from cvae.seeds import Purpose, stream
from cvae.tasks import CallableForward, Problem

MakeProblem = Callable[..., Problem]
#: above it the y-term acts everywhere
ALIGNED = 0.5


def general(problem: Problem, function: Callable[[torch.Tensor], torch.Tensor]) -> Problem:
    forward = CallableForward(function, {"_target_": "here"}, problem.space)
    return Problem(problem.space, forward, problem.gates)


@pytest.mark.parametrize(
    ("forward", "aligned"),
    [
        (["x0 * x1"], True),
        (["x0 + x1"], True),
        (["x0 / (x1 + 0.5)"], True),
        (["exp(2*x0*x1)"], True),
        (["x0 / x1"], True),
        (["maximum(x0 - 0.5, 0) * x1"], True),
        (["sin(5*x0 + 3*x1)", "cos(4*x0 + 8*x1)"], True),
        (["x0", "x1"], True),
        # oscillating within a guess
        (["sin(300*x0*x1)"], False),
        (["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"], False),
        (["cos(49*x0 + 63*x1)", "cos(4*x0 + 8*x1)"], False),
        # nothing to learn from y
        (["0.3"], False),
    ],
)
@pytest.mark.parametrize("points", [23, 50, 200])
def test_smooth_functions_lead_to_the_solution_and_oscillating_ones_do_not(
    problem: MakeProblem, forward: list[str], aligned: bool, points: int
) -> None:
    found = gradient_alignment(problem(*forward, points=points))
    assert -1 <= found <= 1
    assert (found >= ALIGNED) is aligned


@pytest.mark.parametrize(
    ("forward", "directions"), [(["x0 * x1 + x2"], ["falling", "rising", "rising"]), (["sin(4*x0)"], ["falling"])]
)
def test_three_lines_and_one(problem: MakeProblem, forward: list[str], directions: list[str]) -> None:
    assert gradient_alignment(problem(*forward, directions=directions)) >= ALIGNED


def test_a_range_of_another_width_changes_nothing(problem: MakeProblem) -> None:
    for span in (0.01, 100):
        scaled = [f"cos(49/{span}*x0 + 42/{span}*x1)", f"cos(56/{span}*x0 + 63/{span}*x1)"]
        assert gradient_alignment(problem(*scaled, range=[0, span])) < ALIGNED
        assert gradient_alignment(problem(f"x0*x1/{span}/{span}", range=[0, span])) >= ALIGNED


def test_functions_that_are_not_pointwise(problem: MakeProblem, generator: torch.Generator) -> None:
    kernel = torch.rand(50, 50, generator=generator) / 50
    functions: list[Any] = [
        lambda x: (x[..., :1, :] * x[..., 1:, :]).cumsum(-1) / 50,
        lambda x: x[..., :1, :] @ kernel,
    ]
    for function in functions:
        found = general(problem(), function)
        assert not has_isolated_solutions(found)
        assert gradient_alignment(found) >= ALIGNED


def test_the_alignment_counts_where_the_misfit_falls_on_the_way(problem: MakeProblem) -> None:
    # the same disturbed solutions, with the gradient written out by hand
    single = problem("x0**2", directions=["rising"], range=[0, 2])
    generator = stream(Purpose.ALIGNMENT, 0)
    true = single.space.sample(50, generator)
    start = single.space.project(true + 0.1 * 2 * torch.randn(true.shape, generator=generator))
    signs = []
    t = np.linspace(0, 1, 50)
    for a, b in zip(true.double().numpy(), start.double().numpy(), strict=True):
        x, goal = b[0] + (b[1] - b[0]) * t, a[0] + (a[1] - a[0]) * t
        slope = 4 * (x**2 - goal**2) * x
        down = -np.array([slope @ (1 - t), slope @ t])
        signs.append(np.sign(down @ (a - b)))
    assert gradient_alignment(single, samples=50) == pytest.approx(np.mean(signs), abs=1e-6)


def test_points_without_a_finite_gradient_count_as_not_aligned(problem: MakeProblem) -> None:
    # half of the lines reach below 0.5, where the root is not finite
    found = gradient_alignment(problem("sqrt(x0 - 0.5) * x1"))
    assert 0 < found < gradient_alignment(problem("sqrt(x0 + 0.5) * x1"))
