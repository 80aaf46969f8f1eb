"""Draws measured against the reference sets of their conditions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from torch import Tensor

from cvae.inversion import Budget, ReferenceSet, coverage_limits, polished, reference_measures, reference_sets
from cvae.metrics import CoverageRatio, Drawn, ModeRecall, best_cover, coverage_limit
from cvae.tasks import Problem

MakeProblem = Callable[..., Problem]


def drawn(problem: Problem, which: list[int], theta: Tensor, known: Tensor) -> Drawn:
    """Draws ``(batch, draws, parameters)`` for the conditions of known solutions ``(batch, parameters)``."""
    return problem.drawn(torch.tensor(which), problem.space.decode(theta), problem.forward(problem.space.decode(known)))


def test_the_limits_are_those_of_the_reference_sets(vector_problem: MakeProblem, generator: torch.Generator) -> None:
    problem = vector_problem(bounds=[[-1, 1], [0, 1000]])
    references = [ReferenceSet(problem.space.sample(count, generator), False) for count in (9, 1, 0)]
    found = coverage_limits(problem, references, 3)
    for limit, reference in zip(found, references, strict=True):
        assert limit == coverage_limit(problem.space.scaled(reference.theta), 3)
    assert found[1].item() == pytest.approx(1 / 50)
    assert found[2] == 0


def test_draws_of_the_references_themselves_reach_the_limit(problem: MakeProblem, generator: torch.Generator) -> None:
    one = problem("x0 * 0", rmse=1.0)
    references = [ReferenceSet(one.space.sample(40, generator), False) for _ in range(3)]
    measures = reference_measures(one, references, 5)
    for index, theta in enumerate(each.theta for each in references):
        u = one.space.coordinates(one.space.decode(theta))[None]
        chosen = best_cover(u, torch.ones(1, 40, dtype=torch.bool), 5)[0]
        measures.update(drawn(one, [index], theta[None, chosen], theta[:1]))
    found = measures.compute()
    assert found["coverage_ratio"] == pytest.approx(1.0)
    assert 0 < found["reference_distance"] < 0.5
    measures.reset()
    measures.update(drawn(one, [0], references[0].theta[None, :1].repeat(1, 5, 1), references[0].theta[:1]))
    assert 0 < measures.compute()["coverage_ratio"] < 1


def test_a_polished_choice_is_valid_and_covers_more_than_one_from_ten_times_as_many(
    problem: MakeProblem, generator: torch.Generator
) -> None:
    one = problem()
    y = one.forward(one.space.decode(one.space.sample(2, generator)))
    few, many = (reference_sets(one, y, budget=Budget(400_000, kept=count)) for count in (500, 5_000))
    plain = coverage_limits(one, [each._replace(y=None) for each in many], 30)
    assert (coverage_limits(one, few, 30) > plain).all()
    for each, target in zip(few, y, strict=True):
        chosen = polished(one, each.theta[:8], target, draws=10, rounds=2)
        assert chosen.shape == (10, 4)
        assert one.check(one.space.decode(chosen)[None], target[None]).valid.all()


def test_limits_are_chosen_once_for_references_and_a_number_of_draws(
    problem: MakeProblem, generator: torch.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []

    def counted(u: Tensor, draws: int) -> Tensor:
        chosen.append(draws)
        return coverage_limit(u, draws)

    monkeypatch.setattr("cvae.inversion.measures.coverage_limit", counted)
    one = problem()
    references = [ReferenceSet(one.space.sample(30, generator), False) for _ in range(2)]
    plain = coverage_limits(one, references, 3)
    for _ in range(2):
        assert torch.equal(coverage_limits(one, references, 3, tmp_path / "new"), plain)
    assert chosen == [3] * 4
    # of other draws or references, and from a damaged file, they are chosen anew
    coverage_limits(one, references, 4, tmp_path / "new")
    coverage_limits(one, references[::-1], 3, tmp_path / "new")
    assert len(chosen) == 8
    for path in (tmp_path / "new").iterdir():
        path.write_bytes(b"no file of torch")
    assert torch.equal(coverage_limits(one, references, 3, tmp_path / "new"), plain)
    assert len(chosen) == 10


def test_conditions_beyond_the_references_are_passed_over(problem: MakeProblem, generator: torch.Generator) -> None:
    one = problem("x0", "x1")
    solutions = one.space.sample(3, generator)
    measures = reference_measures(one, [ReferenceSet(solution[None], True) for solution in solutions[:2]], 4)
    far = one.space.sample(4, generator)
    # of the two that have references one is found; the third is found too, but has none
    measures.update(drawn(one, [2], solutions[2].expand(1, 4, 4), solutions[2:]))
    assert measures["mode_recall"].count == 0
    both = torch.stack([solutions[0].expand(4, 4), far])
    measures.update(drawn(one, [0, 1], both, solutions[:2]))
    assert measures.compute() == {"mode_recall": 0.5, "mode_recall_pooled": 0.5}


def test_one_continuum_among_the_conditions_makes_all_a_matter_of_coverage(
    problem: MakeProblem, generator: torch.Generator
) -> None:
    one = problem()
    references = [ReferenceSet(one.space.sample(5, generator), finite) for finite in (True, False)]
    assert set(reference_measures(one, references, 4)) == {"coverage_ratio", "reference_distance"}


def test_the_distance_of_references_is_in_units_of_the_ranges(
    vector_problem: MakeProblem, generator: torch.Generator
) -> None:
    problem = vector_problem("x0 * 0 + x1 * 0", bounds=[[-1, 1], [0, 1000]])
    reference, draws = problem.space.sample(50, generator), problem.space.sample(4, generator)
    measures = reference_measures(problem, [ReferenceSet(reference, False)], 4)
    measures.update(drawn(problem, [0], draws[None], draws[:1]))
    ranges = np.array([2, 1000])
    distances, _ = KDTree(draws.numpy() / ranges).query(reference.numpy() / ranges)
    assert measures.compute()["reference_distance"] == pytest.approx(distances.mean() / 2**0.5, rel=1e-5)


def test_without_references_there_is_nothing_to_measure(problem: MakeProblem, generator: torch.Generator) -> None:
    one = problem()
    measures = reference_measures(one, [], 4)
    theta = one.space.sample(4, generator)
    measures.update(drawn(one, [0], theta[None], theta[:1]))
    assert measures.compute() == {}


def test_recall_of_vectors_is_averaged_over_conditions_and_pooled_over_solutions(vector_problem: MakeProblem) -> None:
    problem = vector_problem("x0**2 + (x1/1000)**2", "x0 * x1/1000", bounds=[[-1, 1], [-1000, 1000]])
    # four solutions, and two where both are alike
    sets = [
        torch.tensor([[0.8, 300.0], [0.3, 800.0], [-0.8, -300.0], [-0.3, -800.0]]),
        torch.tensor([[0.5, 500.0], [-0.5, -500.0]]),
    ]
    measures = reference_measures(problem, [ReferenceSet(one, True) for one in sets], 3)
    # three of the four, both of the two; the last draw of each is a copy
    draws = torch.stack([sets[0][[0, 1, 2]], sets[1][[0, 1, 1]]])
    measures.update(drawn(problem, [0, 1], draws, torch.stack([one[0] for one in sets])))
    assert measures.compute() == {
        "mode_recall": pytest.approx((3 / 4 + 2 / 2) / 2),
        "mode_recall_pooled": pytest.approx((3 + 2) / (4 + 2)),
    }


def test_the_nearest_solution_is_found_in_units_of_the_ranges(vector_problem: MakeProblem) -> None:
    # by plain numbers the draw is nearer to the second solution, by shares of the ranges to the first
    problem = vector_problem("x0 * 0 + x1 * 0", bounds=[[0, 1], [0, 1000]])
    reference = ReferenceSet(torch.tensor([[0.1, 500.0], [0.9, 600.0]]), True)
    measures = reference_measures(problem, [reference], 1)
    theta = torch.tensor([[[0.1, 560.0]]])
    measures.update(drawn(problem, [0], theta, theta[0]))
    measures.update(drawn(problem, [0], theta + torch.tensor([0.0, 1.0]), theta[0]))
    assert measures["mode_recall"].compute() == 0.5
    shares = torch.cdist(problem.space.scaled(theta[0]), problem.space.scaled(reference.theta))
    assert shares.argmin() == 0
    assert torch.cdist(theta[0], reference.theta).argmin() == 1


def test_the_measures_are_of_the_kinds_that_they_say(problem: MakeProblem, generator: torch.Generator) -> None:
    one = problem()
    theta = one.space.sample(5, generator)
    assert isinstance(reference_measures(one, [ReferenceSet(theta, False)], 4)["coverage_ratio"], CoverageRatio)
    separate = reference_measures(one, [ReferenceSet(theta, True)], 4)
    assert all(isinstance(metric, ModeRecall) for metric in separate.values())
