"""The choice of a few draws that cover most."""

import itertools

import numpy as np
import pytest
import torch

from cvae.metrics import coverage, exchange, greedy_cover


@pytest.fixture
def many(generator):
    """Coordinates of nine draws for each of two conditions, all valid."""
    return torch.rand(2, 9, 8, generator=generator), torch.ones(2, 9, dtype=torch.bool)


def covered(u, chosen, bins):
    return coverage(u[list(chosen)][None], torch.ones(1, len(chosen), dtype=torch.bool), bins).item()


def test_each_greedy_step_takes_a_draw_that_adds_most(many):
    u, valid = many
    chosen = greedy_cover(u, valid, 5, bins=5)
    assert chosen.shape == (2, 5)
    for draws, order in zip(u, chosen.tolist(), strict=True):
        assert len(set(order)) == 5
        for step, draw in enumerate(order):
            others = [covered(draws, [*order[:step], other], 5) for other in range(9) if other not in order[:step]]
            assert covered(draws, [*order[:step], draw], 5) == max(others)


def test_a_greedy_choice_comes_near_the_best_one(many):
    u, valid = many
    for draws, order in zip(u, greedy_cover(u, valid, 3, bins=5).tolist(), strict=True):
        best = max(covered(draws, chosen, 5) for chosen in itertools.combinations(range(9), 3))
        assert covered(draws, order, 5) >= (1 - 1 / np.e) * best


def test_a_greedy_choice_is_what_it_says_even_where_another_is_better():
    # the first shares half of its bins with each of the others, which together cover more
    u = torch.tensor([[0.01, 0.03, 0.31, 0.33], [0.01, 0.03, 0.05, 0.07], [0.29, 0.29, 0.31, 0.33]])[None]
    two = torch.ones(1, 2, dtype=torch.bool)
    chosen = greedy_cover(u, torch.ones(1, 3, dtype=torch.bool), 2)[0]
    assert chosen[0] == 0
    assert coverage(u[:, chosen], two).item() == pytest.approx(6 / 200)
    assert coverage(u[:, 1:], two).item() == pytest.approx(8 / 200)


def test_invalid_draws_are_taken_last(many):
    u, valid = many
    valid[:, ::2] = False
    chosen = greedy_cover(u, valid, 6)
    for order in chosen.tolist():
        assert set(order[:4]) == {1, 3, 5, 7}
        assert len(set(order)) == 6


def test_no_more_draws_are_chosen_than_there_are(many):
    u, valid = many
    assert sorted(greedy_cover(u, valid, 30)[0].tolist()) == list(range(9))


def test_more_coordinates_than_a_byte_counts_are_chosen_by_all_of_them(generator):
    u, valid = torch.rand(1, 12, 600, generator=generator), torch.ones(1, 12, dtype=torch.bool)
    # one that shares no bin with the first, and one that shares 256 of its 600
    u[0, 1] = (u[0, 0] + 0.5) % 1
    u[0, 2, :256] = u[0, 0, :256]
    order = greedy_cover(u, valid, 3)[0].tolist()
    others = [covered(u[0], [*order[:2], other], 50) for other in range(12) if other not in order[:2]]
    assert order[:2] == [0, 1]
    assert covered(u[0], order, 50) == pytest.approx(max(others))
    assert 2 not in order


# --- exchanges


def test_an_exchange_takes_what_a_naive_loop_would(generator):
    u, valid = torch.rand(1, 30, 8, generator=generator), torch.rand(1, 30, generator=generator) < 0.7
    start = greedy_cover(u, valid, 6)
    chosen = start[0].tolist()
    for _ in range(2):
        for place in range(6):
            rest = [draw for draw in chosen if draw != chosen[place]]
            best, most = chosen[place], covered(u[0], chosen, 50)
            for draw in range(30):
                if valid[0, draw] and draw not in chosen and covered(u[0], [*rest, draw], 50) > most + 1e-9:
                    best, most = draw, covered(u[0], [*rest, draw], 50)
            chosen[place] = best
    assert exchange(u, valid, start)[0].tolist() == chosen


def test_an_exchange_mends_what_the_first_greedy_step_could_not_know():
    u = torch.tensor([[0.01, 0.03, 0.31, 0.33], [0.01, 0.03, 0.05, 0.07], [0.29, 0.29, 0.31, 0.33]])[None]
    valid = torch.ones(1, 3, dtype=torch.bool)
    better = exchange(u, valid, greedy_cover(u, valid, 2))
    assert sorted(better[0].tolist()) == [1, 2]


def test_no_exchange_costs_coverage_or_takes_a_draw_twice_or_an_invalid_one(generator):
    u, valid = torch.rand(4, 60, 6, generator=generator), torch.rand(4, 60, generator=generator) < 0.5
    start = greedy_cover(u, valid, 10)
    better = exchange(u, valid, start)
    for row in range(4):
        assert better[row].unique().numel() == 10
        assert valid[row, better[row]].all()
        assert covered(u[row], better[row].tolist(), 50) >= covered(u[row], start[row].tolist(), 50)


def test_of_vectors_the_choice_covers_every_parameter(vector_problem, generator):
    space = vector_problem("x0 + x1", bounds=[[0, 1], [0, 1000]]).space
    u = space.coordinates(space.sample(500, generator))[None]
    valid = torch.ones(1, 500, dtype=torch.bool)
    chosen = exchange(u, valid, greedy_cover(u, valid, 40))[0]
    # forty draws can hit at most forty of the fifty bins of each parameter
    assert covered(u[0], chosen.tolist(), 50) > 0.95 * 40 / 50
