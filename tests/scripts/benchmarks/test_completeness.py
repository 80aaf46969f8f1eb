from __future__ import annotations

import pytest
import torch
from completeness import Assessed, assess, classes, figure_of, summary

from cvae.baselines import PriorDraws
from cvae.generation import Plan
from cvae.inversion import reference_sets

#: five sets: how many solutions there are, how many are found, and what the estimates say
SETS = Assessed(
    torch.tensor([4, 4, 10, 2, 5]),
    torch.tensor([4, 3, 9, 2, 4]),
    torch.tensor([0.0, 0.2, 0.0, 0.0, 0.2]),
    torch.tensor([0.0, 0.3, 0.005, 0.08, 0.3]),
)


def test_the_summary_pools_solutions_and_tells_which_incomplete_sets_are_marked():
    found = summary(SETS)
    assert found["recall_pooled"] == pytest.approx(22 / 25)
    assert found["truly unseen"] == pytest.approx((1 / 4 + 1 / 10 + 1 / 5) / 5)
    assert (found["unseen"], found["at most"]) == pytest.approx((0.4 / 5, 0.685 / 5))
    assert (found["conditions"], found["incomplete"], found["of these marked"]) == (5, 3, 2)
    assert found["complete, but marked"] == 1


def test_each_class_of_the_estimate_has_its_means_and_empty_ones_are_left_out():
    rows = classes(SETS.missed, SETS.at_most)
    assert [row["sets"] for row in rows] == [2, 1, 2]
    low, _, high = rows
    assert (low["estimate"], low["truly unseen"], low["complete"]) == pytest.approx((0.0025, 0.05, 0.5))
    # of 1/4 and 1/5: their standard deviation over the root of two
    assert high["truly unseen"] == pytest.approx(0.225)
    assert high["standard error"] == pytest.approx(0.025)
    assert len(figure_of([summary(SETS)], rows).axes) == 1


def test_more_candidates_find_more_and_conditions_with_more_solutions_than_draws_are_left_out(problem):
    one = problem("cos(49*x0 + 63*x1)", "cos(4*x0 + 8*x1)", pearson=0.8, rmse=0.1)
    known = one.space.sample(12, torch.Generator().manual_seed(0))
    y = one.forward(one.space.decode(known))
    found = reference_sets(one, y, known=known)
    references = [reference.theta for reference in found]
    plans = (Plan(draws=3, candidates=4, refine_steps=15), Plan(draws=3, candidates=200, refine_steps=20))
    few, many = (assess(PriorDraws(one), one, y, references, plan) for plan in plans)
    assert all(reference.finite for reference in found)
    assert few.solutions.tolist() == [len(theta) for theta in references if len(theta) <= 3]
    assert 0 < len(few.solutions) < 12
    assert few.found.sum() < many.found.sum() <= many.solutions.sum()
    assert many.missed.mean() < few.missed.mean()
    assert many.at_most.mean() < few.at_most.mean()
