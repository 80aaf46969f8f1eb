import itertools
from math import nan

import pytest
import torch

from cvae.evaluation import Drawn
from cvae.metrics import AgainstReferences, CoverageRatio, coverage, coverage_limit, coverage_ratio, greedy_cover
from cvae.problems import Check
from cvae.problems.reference import ReferenceSet


def swept(geometry, endpoints, chosen):
    """Coverage of some reference solutions, cell by cell."""
    cells = set()
    for index in chosen:
        for line, values in enumerate(geometry.to_lines(endpoints[index]).tolist()):
            cells |= {(line, point, min(int(value * 50), 49)) for point, value in enumerate(values)}
    return len(cells) / (geometry.lines * geometry.points * 50)


def naive_greedy(geometry, endpoints, draws):
    chosen = []
    for _ in range(draws):
        rest = [index for index in range(len(endpoints)) if index not in chosen]
        chosen.append(max(rest, key=lambda index: swept(geometry, endpoints, [*chosen, index])))
    return swept(geometry, endpoints, chosen)


@pytest.fixture
def geometry(problem):
    return problem(points=7).geometry


def test_the_limit_is_that_of_a_naive_greedy_loop_and_near_the_best_of_all_subsets(geometry, generator):
    references = [ReferenceSet(geometry.sample(count, generator), False) for count in (9, 6, 8)]
    for draws in (1, 3, 5):
        limits = coverage_limit(geometry, references, draws).tolist()
        for limit, (endpoints, _) in zip(limits, references, strict=True):
            assert limit == pytest.approx(naive_greedy(geometry, endpoints, draws))
            subsets = itertools.combinations(range(len(endpoints)), draws)
            best = max(swept(geometry, endpoints, subset) for subset in subsets)
            assert (1 - 1 / torch.e) * best <= limit <= best + 1e-6
            if draws == 1:
                assert limit == pytest.approx(best)


def test_a_greedy_choice_is_what_it_says_even_where_another_is_better():
    # the first shares half of its cells with each of the others, which together cover more
    x = torch.tensor([[0.01, 0.03, 0.31, 0.33], [0.01, 0.03, 0.05, 0.07], [0.29, 0.29, 0.31, 0.33]])[None, :, None]
    two = torch.ones(1, 2, dtype=torch.bool)
    chosen = greedy_cover(x, torch.ones(1, 3, dtype=torch.bool), 2, (0.0, 1.0))[0]
    assert chosen[0] == 0
    assert coverage(x[:, chosen], two, (0.0, 1.0)).item() == pytest.approx(6 / 200)
    assert coverage(x[:, 1:], two, (0.0, 1.0)).item() == pytest.approx(8 / 200)


def test_no_choice_of_draws_covers_less_than_one_of_fewer(geometry, generator):
    references = [ReferenceSet(geometry.sample(12, generator), False)]
    limits = [coverage_limit(geometry, references, draws).item() for draws in range(1, 15)]
    assert limits == sorted(limits)
    assert limits[0] < limits[-1] == pytest.approx(swept(geometry, references[0].endpoints, range(12)))


def test_a_condition_without_references_has_no_limit_and_no_ratio(geometry, generator):
    references = [ReferenceSet(geometry.sample(4, generator), False), ReferenceSet(torch.zeros(0, 2, 2), False)]
    limits = coverage_limit(geometry, references, 3)
    assert limits[0] > 0
    assert limits[1] == 0
    ratio = coverage_ratio(torch.tensor([0.1, 0.1]), limits)
    assert ratio.tolist() == pytest.approx([0.1 / limits[0].item(), nan], nan_ok=True)
    metric = CoverageRatio((0.0, 1.0))
    x = geometry.to_lines(geometry.sample(6, generator)).unflatten(0, (2, 3))
    valid = torch.ones(2, 3, dtype=torch.bool)
    metric.update(x, Check(valid, valid, valid, valid), limits)
    assert metric.compute() == pytest.approx((coverage(x, valid, (0.0, 1.0))[0] / limits[0]).item())


def drawn(problem, which, endpoints, known):
    """Draws for some conditions, ``(batch, draws, lines, 2)``."""
    x = problem.geometry.to_lines(endpoints)
    return Drawn(torch.tensor(which), x, problem.check(x, problem.forward(problem.geometry.to_lines(known))))


def test_draws_of_the_references_themselves_reach_the_limit(problem, generator):
    problem = problem("x0 * 0", rmse=1.0)
    references = [ReferenceSet(problem.geometry.sample(40, generator), False) for _ in range(3)]
    against = AgainstReferences(problem, references, 5)
    for index, reference in enumerate(references):
        x = problem.geometry.to_lines(reference.endpoints)[None]
        chosen = greedy_cover(x, torch.ones(1, 40, dtype=torch.bool), 5, (0.0, 1.0))[0]
        against.update(drawn(problem, [index], reference.endpoints[None, chosen], reference.endpoints[:1]))
    assert against.compute("val/") == {"val/coverage_ratio": pytest.approx(1.0)}
    against.reset()
    against.update(drawn(problem, [0], references[0].endpoints[None, :1].repeat(1, 5, 1, 1), torch.rand(1, 2, 2)))
    assert 0 < against.compute(None)["coverage_ratio"] < 1


def test_conditions_beyond_the_references_are_passed_over(problem, generator):
    problem = problem("x0", "x1")
    solutions = problem.geometry.sample(3, generator)
    references = [ReferenceSet(solution[None], True) for solution in solutions[:2]]
    against = AgainstReferences(problem, references, 4)
    far = problem.geometry.sample(4, generator)
    # of the two that have references one is found; the third is found too, but has none
    against.update(drawn(problem, [2], solutions[2].expand(1, 4, 2, 2), solutions[2:]))
    assert against.mode_recall.count == 0
    both = torch.stack([solutions[0].expand(4, 2, 2), far])
    against.update(drawn(problem, [0, 1], both, solutions[:2]))
    assert against.compute("test/") == {"test/mode_recall": 0.5}


def test_without_references_there_is_nothing_to_measure(problem, generator):
    problem = problem()
    against = AgainstReferences(problem, [], 4)
    against.update(drawn(problem, [0], problem.geometry.sample(4, generator)[None], torch.rand(1, 2, 2)))
    assert against.compute(None) == {}
