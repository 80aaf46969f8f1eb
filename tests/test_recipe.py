import logging

import numpy as np
import pytest
import torch

from cvae import recipe
from cvae.networks import CategoricalCVAE, GaussianCVAE
from cvae.problems import CallableForward, Problem
from cvae.recipe import Decision, decide, gradient_alignment
from cvae.seeds import stream
from cvae.training import build


def general(problem, function):
    forward = CallableForward(function, {"_target_": "here"}, problem.geometry)
    return Problem(problem.geometry, forward, problem.gates)


@pytest.mark.parametrize(
    ("forward", "separate", "y_term"),
    [
        # smooth, and a continuum of solutions
        (["x0 * x1"], False, True),
        (["x0 + x1"], False, True),
        (["x0 / (x1 + 0.5)"], False, True),
        (["exp(2*x0*x1)"], False, True),
        (["x0 / x1"], False, True),
        (["maximum(x0 - 0.5, 0) * x1"], False, True),
        # oscillating within a guess
        (["sin(300*x0*x1)"], False, False),
        (["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"], True, False),
        (["cos(49*x0 + 63*x1)", "cos(4*x0 + 8*x1)"], True, False),
        # separate and smooth
        (["sin(5*x0 + 3*x1)", "cos(4*x0 + 8*x1)"], True, True),
        (["x0", "x1"], True, True),
        # nothing to learn from y
        (["0.3"], False, False),
    ],
)
@pytest.mark.parametrize("points", [23, 50, 200])
def test_what_a_problem_is_like(problem, forward, separate, y_term, points):
    found = decide(problem(*forward, points=points))
    assert (found.separate, found.y_term) == (separate, y_term)
    assert -1 <= found.alignment <= 1


@pytest.mark.parametrize(
    ("forward", "directions", "separate"),
    [(["x0 * x1 + x2"], ["falling", "rising", "rising"], False), (["sin(4*x0)"], ["falling"], True)],
)
def test_three_lines_and_one(problem, forward, directions, separate):
    found = decide(problem(*forward, directions=directions))
    assert (found.separate, found.y_term) == (separate, True)


def test_a_range_of_another_width_changes_nothing(problem):
    for span in (0.01, 100):
        scaled = [f"cos(49/{span}*x0 + 42/{span}*x1)", f"cos(56/{span}*x0 + 63/{span}*x1)"]
        assert not decide(problem(*scaled, range=[0, span])).y_term
        assert decide(problem(f"x0*x1/{span}/{span}", range=[0, span])).y_term


def test_functions_that_are_not_pointwise(problem, generator):
    kernel = torch.rand(50, 50, generator=generator) / 50
    for function in (lambda x: (x[..., :1, :] * x[..., 1:, :]).cumsum(-1) / 50, lambda x: x[..., :1, :] @ kernel):
        found = decide(general(problem(), function))
        assert (found.separate, found.y_term) == (False, True)


def test_the_alignment_is_the_cosine_of_gradient_and_way(problem):
    # the same disturbed solutions, with the gradient written out by hand
    single = problem("x0**2", directions=["rising"], range=[0, 2])
    generator = stream(0, 12)
    true = single.geometry.sample(50, generator)
    start = single.geometry.project(true + 0.1 * 2 * torch.randn(true.shape, generator=generator))
    cosines = []
    t = np.linspace(0, 1, 50)
    for a, b in zip(true[:, 0].double().numpy(), start[:, 0].double().numpy(), strict=True):
        x, goal = b[0] + (b[1] - b[0]) * t, a[0] + (a[1] - a[0]) * t
        slope = 4 * (x**2 - goal**2) * x
        down, way = -np.array([slope @ (1 - t), slope @ t]), a - b
        cosines.append(down @ way / np.linalg.norm(down) / np.linalg.norm(way))
    assert gradient_alignment(single, samples=50) == pytest.approx(np.mean(cosines), abs=1e-4)


def test_points_without_a_finite_gradient_count_as_not_aligned(problem):
    # half of the lines reach below 0.5, where the root is not finite
    found = gradient_alignment(problem("sqrt(x0 - 0.5) * x1"))
    assert 0 < found < gradient_alignment(problem("sqrt(x0 + 0.5) * x1"))


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (
            Decision(True, 0.01, False),
            ["separate points", "categorical", "false minima", "0.01", "late", "near misses alone"],
        ),
        (
            Decision(False, 0.6, True),
            ["continuum", "Gaussian", "points to the solution", "0.60", "acts everywhere"],
        ),
    ],
)
def test_a_decision_is_explained(decision, words):
    assert all(word in decision.explain() for word in words)


BIRDS = "data=two_birds"


@pytest.mark.parametrize(
    ("overrides", "separate", "y_term"),
    [
        ([], False, True),
        ([BIRDS], True, False),
        ([BIRDS, "recipe.separate=false"], False, False),
        ([BIRDS, "recipe.y_term=true"], True, True),
        (["recipe.separate=true"], True, True),
        (["recipe.separate=true", "recipe.y_term=false"], True, False),
        (["data=lines", "data.forward=['sin(300*x0*x1)']"], False, False),
    ],
)
def test_what_is_auto_is_found_and_what_is_said_stays(shipped, caplog, overrides, separate, y_term):
    cfg = shipped(*overrides)
    with caplog.at_level(logging.INFO, logger="cvae.recipe"):
        recipe.apply(cfg)
    assert (cfg.recipe.separate, cfg.recipe.y_term) == (separate, y_term)
    # what depends on it follows
    assert (cfg.loss.y_saturation is None) is y_term
    assert (cfg.loss.y_from == 0) is y_term
    assert (cfg.data.tolerance > 0) is not separate
    assert (cfg.loss.anneal != 1) is separate
    asked = sum("recipe." in override for override in overrides)
    assert len(caplog.records) == (asked < 2)


@pytest.mark.parametrize("name", ["separate", "y_term"])
@pytest.mark.parametrize("word", ["no", "maybe", "1", "null"])
def test_other_words_are_refused(shipped, name, word):
    with pytest.raises(ValueError, match=rf"recipe.{name} is .*; it must be auto, true or false"):
        recipe.apply(shipped(f"recipe.{name}={word}"))


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ([], GaussianCVAE),
        ([BIRDS], CategoricalCVAE),
        (["recipe.separate=true"], CategoricalCVAE),
        ([BIRDS, "recipe.separate=false", "recipe.y_term=false"], GaussianCVAE),
        ([BIRDS, "model=dense"], GaussianCVAE),
        (["model=mixture"], CategoricalCVAE),
        (["data=lines", "data.forward=['sin(9*x0)']", "data.directions=[rising]"], CategoricalCVAE),
        (["data=lines", "data.forward=['x0*x1 + x2']", "data.directions=[falling,rising,rising]"], GaussianCVAE),
    ],
)
def test_the_model_follows_the_decision_unless_it_is_named(shipped, overrides, kind):
    _, model = build(shipped(*overrides))
    assert type(model.network) is kind
