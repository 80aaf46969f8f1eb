import itertools

import numpy as np
import pytest
import torch

from cvae.metrics import ModeRecall, coverage, greedy_cover, mode_recall


def loop_recall(draws, valid, reference):
    found = set()
    for draw, good in zip(draws.flatten(1).numpy(), valid.tolist(), strict=True):
        distances = [np.linalg.norm(draw - other) for other in reference.flatten(1).numpy()]
        if good:
            found.add(int(np.argmin(distances)))
    return len(found) / len(reference)


def test_recall_counts_the_references_that_a_valid_draw_comes_nearest(generator):
    draws, reference = torch.rand(6, 2, 2, generator=generator), torch.rand(5, 2, 2, generator=generator)
    valid = torch.tensor([True, True, False, True, False, True])
    recall = mode_recall(draws, valid, reference).item()
    assert recall == pytest.approx(loop_recall(draws, valid, reference))
    assert 0 < recall < 1


def test_recall_is_one_for_the_reference_itself_and_small_for_copies(generator):
    reference = torch.rand(8, 2, 2, generator=generator)
    everything = torch.ones(8, dtype=torch.bool)
    assert mode_recall(reference, everything, reference) == 1
    assert mode_recall(reference[:1].expand(8, 2, 2), everything, reference) == 1 / 8
    assert mode_recall(reference, ~everything, reference) == 0


def test_recall_of_nothing_is_undefined_and_left_out(generator):
    draws, valid = torch.rand(2, 3, 2, 2, generator=generator), torch.ones(2, 3, dtype=torch.bool)
    assert mode_recall(draws[0], valid[0], draws[0, :0]).isnan()
    metric = ModeRecall()
    metric.update(draws, valid, [draws[0], draws[1, :0]])
    assert metric.compute() == 1


def test_recall_over_batches_is_the_mean_over_conditions(generator):
    draws = torch.rand(4, 3, 2, 2, generator=generator)
    valid = torch.rand(4, 3, generator=generator) < 0.7
    references = [torch.rand(n, 2, 2, generator=generator) for n in (1, 2, 5, 9)]
    metric = ModeRecall()
    for part in (slice(0, 1), slice(1, 4)):
        metric.update(draws[part], valid[part], references[part])
    expected = [loop_recall(*each) for each in zip(draws, valid, references, strict=True)]
    assert metric.compute().item() == pytest.approx(np.mean(expected))


@pytest.fixture
def many(generator):
    return torch.rand(2, 9, 2, 4, generator=generator), torch.ones(2, 9, dtype=torch.bool)


def swept(x, chosen, rows):
    everything = torch.ones(1, len(chosen), dtype=torch.bool)
    return coverage(x[list(chosen)][None], everything, (0.0, 1.0), rows).item()


def test_each_greedy_step_takes_a_draw_that_adds_most(many):
    x, valid = many
    chosen = greedy_cover(x, valid, 5, (0.0, 1.0), rows=5)
    assert chosen.shape == (2, 5)
    for lines, order in zip(x, chosen.tolist(), strict=True):
        assert len(set(order)) == 5
        for step, draw in enumerate(order):
            others = [swept(lines, [*order[:step], other], 5) for other in range(9) if other not in order[:step]]
            assert swept(lines, [*order[:step], draw], 5) == max(others)


def test_greedy_cover_comes_near_the_best_choice(many):
    x, valid = many
    for lines, order in zip(x, greedy_cover(x, valid, 3, (0.0, 1.0), rows=5).tolist(), strict=True):
        best = max(swept(lines, chosen, 5) for chosen in itertools.combinations(range(9), 3))
        assert swept(lines, order, 5) >= (1 - 1 / np.e) * best


def test_invalid_draws_are_taken_last(many):
    x, valid = many
    valid[:, ::2] = False
    chosen = greedy_cover(x, valid, 6, (0.0, 1.0))
    for order in chosen.tolist():
        assert set(order[:4]) == {1, 3, 5, 7}
        assert len(set(order)) == 6


def test_no_more_draws_are_chosen_than_there_are(many):
    x, valid = many
    assert sorted(greedy_cover(x, valid, 30, (0.0, 1.0))[0].tolist()) == list(range(9))
