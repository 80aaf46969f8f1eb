"""Measures of draws against reference sets, on coordinates alone."""

import itertools
from math import nan

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from cvae.metrics import (
    Check,
    CoverageRatio,
    Drawn,
    ModeRecall,
    ReferenceDistance,
    best_cover,
    coverage,
    coverage_limit,
    coverage_ratio,
    mode_hits,
)
from cvae.metrics.references import COMPARED


def covered(u, chosen):
    """Coverage of some reference solutions, bin by bin."""
    cells = {
        (coordinate, min(int(share * 50), 49)) for index in chosen for coordinate, share in enumerate(u[index].tolist())
    }
    return len(cells) / (u.shape[1] * 50)


def naive_greedy(u, draws):
    chosen = []
    for _ in range(draws):
        rest = [index for index in range(len(u)) if index not in chosen]
        chosen.append(max(rest, key=lambda index: covered(u, [*chosen, index])))
    return covered(u, chosen)


@pytest.mark.parametrize("count", [9, 6, 8])
@pytest.mark.parametrize("draws", [1, 3, 5])
def test_the_limit_is_between_a_naive_greedy_loop_and_the_best_of_all_subsets(problem, generator, count, draws):
    space = problem(points=7).space
    u = space.coordinates(space.decode(space.sample(count, generator)))
    limit = coverage_limit(u, draws).item()
    best = max(covered(u, subset) for subset in itertools.combinations(range(count), draws))
    assert naive_greedy(u, draws) - 1e-6 <= limit <= best + 1e-6
    if draws == 1:
        assert limit == pytest.approx(best)


def test_no_choice_of_draws_covers_less_than_one_of_fewer(generator):
    u = torch.rand(12, 6, generator=generator)
    limits = [coverage_limit(u, draws).item() for draws in range(1, 15)]
    assert limits == sorted(limits)
    assert limits[0] < limits[-1] == pytest.approx(covered(u, range(12)))


def drawn(which, x, valid=None):
    """Draws ``(batch, draws, parameters)`` that are all valid, or as ``valid`` says."""
    valid = torch.ones(x.shape[:2], dtype=torch.bool) if valid is None else valid
    return Drawn(torch.tensor(which), x, torch.zeros(len(x), 1), Check(torch.zeros_like(valid), valid, valid))


def same(x):
    return x


def test_a_condition_without_references_has_no_limit_and_no_ratio(generator):
    limits = torch.stack(
        [coverage_limit(torch.rand(4, 3, generator=generator), 3), coverage_limit(torch.rand(0, 3), 3)]
    )
    assert limits[0] > 0
    assert limits[1] == 0
    ratio = coverage_ratio(torch.tensor([0.1, 0.1]), limits)
    assert ratio.tolist() == pytest.approx([0.1 / limits[0].item(), nan], nan_ok=True)
    metric = CoverageRatio(same, limits)
    u = torch.rand(2, 3, 3, generator=generator)
    metric.update(drawn([0, 1], u))
    valid = torch.ones(2, 3, dtype=torch.bool)
    assert metric.compute() == pytest.approx((coverage(u, valid)[0] / limits[0]).item())


def test_draws_of_the_references_themselves_reach_the_limit(generator):
    references = torch.rand(3, 40, 5, generator=generator)
    metric = CoverageRatio(same, torch.stack([coverage_limit(u, 5) for u in references]))
    for index, u in enumerate(references):
        chosen = best_cover(u[None], torch.ones(1, 40, dtype=torch.bool), 5)[0]
        metric.update(drawn([index], u[None, chosen]))
    assert metric.compute() == pytest.approx(1.0)
    metric.reset()
    metric.update(drawn([0], references[:1, :1].repeat(1, 5, 1)))
    assert 0 < metric.compute() < 1


def test_limits_belong_to_the_conditions_and_later_ones_are_passed_over(generator):
    metric = CoverageRatio(same, torch.tensor([0.1, 0.5]))
    u = torch.rand(3, 4, 2, generator=generator)
    metric.update(drawn([2, 1, 0], u))
    share = coverage(u, torch.ones(3, 4, dtype=torch.bool))
    assert metric.count == 2
    assert metric.compute() == pytest.approx((share[1] / 0.5 + share[2] / 0.1).item() / 2)


# --- recall of separate solutions


def loop_hits(draws, valid, reference):
    found = set()
    for draw, good in zip(draws.numpy(), valid.tolist(), strict=True):
        distances = [np.linalg.norm(draw - other) for other in reference.numpy()]
        if good:
            found.add(int(np.argmin(distances)))
    return len(found)


def test_hits_are_the_references_that_a_valid_draw_comes_nearest(generator):
    draws, reference = torch.rand(6, 4, generator=generator), torch.rand(5, 4, generator=generator)
    valid = torch.tensor([True, True, False, True, False, True])
    hits = mode_hits(draws, valid, reference)
    assert hits == loop_hits(draws, valid, reference)
    assert 0 < hits < 5


def test_all_are_hit_by_the_reference_itself_and_one_by_copies(generator):
    reference = torch.rand(8, 4, generator=generator)
    everything = torch.ones(8, dtype=torch.bool)
    assert mode_hits(reference, everything, reference) == 8
    assert mode_hits(reference[:1].expand(8, 4), everything, reference) == 1
    assert mode_hits(reference, ~everything, reference) == 0
    assert mode_hits(reference, everything, reference[:0]) == 0


#: one condition with one solution, which is found, and one with four, of which two are
REFERENCES = [torch.tensor([[0.5, 0.5]]), torch.tensor([[0.1, 0.1], [0.1, 0.9], [0.9, 0.1], [0.9, 0.9]])]
DRAWS = torch.tensor(
    [
        [[0.4, 0.6], [0.5, 0.5], [0.9, 0.9]],
        [[0.15, 0.2], [0.0, 0.0], [0.8, 0.2]],
    ]
)


@pytest.mark.parametrize(("pooled", "expected"), [(False, (1 / 1 + 2 / 4) / 2), (True, (1 + 2) / (1 + 4))])
def test_recall_is_averaged_over_conditions_or_pooled_over_solutions(pooled, expected):
    metric = ModeRecall(same, REFERENCES, pooled=pooled)
    metric.update(drawn([0, 1], DRAWS))
    assert metric.compute() == pytest.approx(expected)
    # without the only draw that comes nearest the third solution
    valid = torch.tensor([[True, True, True], [True, True, False]])
    metric.reset()
    metric.update(drawn([1, 0], DRAWS.flip(0), valid.flip(0)))
    assert metric.compute() == pytest.approx((1 + 1) / (1 + 4) if pooled else (1 / 1 + 1 / 4) / 2)


@pytest.mark.parametrize("pooled", [False, True])
def test_recall_of_nothing_is_left_out(pooled, generator):
    x = torch.rand(2, 3, 4, generator=generator)
    metric = ModeRecall(same, [x[0], x[1, :0]], pooled)
    metric.update(drawn([0, 1], x))
    assert metric.compute() == 1


@pytest.mark.parametrize("pooled", [False, True])
def test_conditions_beyond_the_references_are_passed_over(pooled):
    metric = ModeRecall(same, REFERENCES[:1], pooled)
    metric.update(drawn([1], DRAWS[1:]))
    assert metric.count == 0
    metric.update(drawn([0], DRAWS[:1]))
    assert metric.compute() == 1


@pytest.mark.parametrize("pooled", [False, True])
def test_recall_over_batches_is_that_over_all_conditions(pooled, generator):
    x = torch.rand(4, 3, 4, generator=generator)
    valid = torch.rand(4, 3, generator=generator) < 0.7
    references = [torch.rand(n, 4, generator=generator) for n in (1, 2, 5, 9)]
    metric = ModeRecall(same, references, pooled)
    for part in ([0], [1, 2, 3]):
        metric.update(drawn(part, x[part], valid[part]))
    hits = [loop_hits(*each) for each in zip(x, valid, references, strict=True)]
    sizes = [len(reference) for reference in references]
    expected = sum(hits) / sum(sizes) if pooled else np.mean(np.array(hits) / sizes)
    assert metric.compute().item() == pytest.approx(expected)


def test_the_distance_of_references_is_that_of_the_nearest_valid_draw():
    generator = np.random.default_rng(0)
    references = [torch.from_numpy(generator.random((count, 3))).float() for count in (7, 4, 0)]
    x = torch.from_numpy(generator.random((4, 5, 3))).float()
    valid = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    measure = ReferenceDistance(lambda x: x, references)
    # no draw of the second is valid; the third has no references, and the fourth is not one of the first conditions
    measure.update(drawn([0, 1, 2, 3], x, valid))
    distances, _ = KDTree(x[0, valid[0]].numpy()).query(references[0].numpy())
    assert measure.compute().item() == pytest.approx((distances.mean() / 3**0.5 + 1) / 2)


@pytest.mark.parametrize("measure_of", [ReferenceDistance, ModeRecall])
def test_draws_of_half_precision_are_compared_in_single(measure_of):
    reference = torch.linspace(0, 1, 11).unsqueeze(1)
    measure = measure_of(lambda x: x, [reference])
    measure.update(drawn([0], torch.tensor([[[0.0], [1.0]]], dtype=torch.float16)))
    expected = {ReferenceDistance: 2.5 / 11, ModeRecall: 2 / 11}[measure_of]
    assert measure.compute().item() == pytest.approx(expected)


def test_of_many_references_some_are_compared_evenly():
    reference = torch.linspace(0, 1, 100_001).unsqueeze(1)
    measure = ReferenceDistance(lambda x: x, [reference])
    measure.update(drawn([0], torch.tensor([[[0.5]]])))
    assert len(measure.references[0]) <= COMPARED
    assert measure.compute().item() == pytest.approx(0.25, abs=1e-3)


def test_a_branch_that_is_left_out_shows_in_the_distance_and_not_in_the_coverage():
    share = torch.linspace(0.01, 0.99, 50)
    rising, falling = torch.stack([share, share], 1), torch.stack([share, 1 - share], 1)
    both = torch.cat([rising[::2], falling[::2]])
    one, two = (ReferenceDistance(lambda x: x, [torch.cat([rising, falling])]) for _ in range(2))
    one.update(drawn([0], rising[None]))
    two.update(drawn([0], both[None]))
    assert coverage(rising[None], torch.ones(1, 50, dtype=torch.bool)).item() == 1
    assert two.compute() < one.compute() / 5
