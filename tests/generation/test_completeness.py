"""How complete a generated set is: the estimates against what is true, where that is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from cvae.baselines import PriorDraws
from cvae.generation import Plan, generate
from cvae.generation.completeness import (
    Counts,
    chao,
    count_solutions,
    coverage_gain,
    firsts,
    good_turing,
    recapture,
    unseen_at_most,
    unseen_share,
)
from cvae.inversion import reference_sets
from cvae.metrics import Check, mode_hits

BIRDS = ["sin(5*x0 + 3*x1)", "cos(4*x0 + 8*x1)"]


@pytest.mark.parametrize(
    ("counts", "probability", "missing"),
    [
        ([1, 1, 1, 2, 5], 3 / 10, 9 / 2),
        ([1, 1, 1, 5], 3 / 8, 3),
        ([1], 1, 0),
        ([2, 2, 7], 0, 0),
        # known from elsewhere, and never found here
        ([0, 0, 1, 2], 1 / 3, 1 / 2),
        ([], 1, 0),
    ],
)
def test_numbers_by_hand(counts, probability, missing):
    counts = torch.tensor(counts, dtype=torch.int64)
    total = counts.sum()
    assert good_turing(counts, total).item() == pytest.approx(probability)
    assert chao(counts).item() == pytest.approx(missing)
    share = missing / max(missing + len(counts), 1)
    for one, other in ((counts, 0 * counts), (0 * counts, counts), (counts // 2, counts - counts // 2)):
        assert unseen_at_most(Counts(one, other, total)).item() == pytest.approx(max(share, probability))
    # without a second search
    assert unseen_share(Counts(counts, 0 * counts, total)).item() == pytest.approx(probability)


def test_two_searches_tell_what_both_miss():
    drawn, explored = torch.tensor([3, 1, 0, 2, 1, 1]), torch.tensor([1, 0, 2, 0, 0, 5])
    # three and one were found by one search alone, two by both
    assert recapture(drawn, explored).item() == pytest.approx(3 * 1 / 2)
    assert recapture(explored, drawn).item() == pytest.approx(3 * 1 / 2)
    assert unseen_share(Counts(drawn, explored, torch.tensor(16))).item() == pytest.approx(1.5 / 7.5)
    assert recapture(drawn, drawn) == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_recapture_is_right_where_the_first_search_is_unfair_and_the_second_is_not(seed):
    rng = np.random.default_rng(seed)
    # of many, since the quotient of few is too large on average
    chances = rng.dirichlet(np.full(300, 0.5))
    one, other = rng.multinomial(300, chances, size=200), rng.multinomial(300, np.full(300, 1 / 300), size=200)
    estimates = [recapture(*map(torch.from_numpy, pair)).item() for pair in zip(one, other, strict=True)]
    assert 0.95 < np.mean(estimates) / ((one + other) == 0).sum(1).mean() < 1.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_on_average_good_turing_gives_the_probability_of_what_is_unseen(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(40, 0.5))
    samples = rng.multinomial(60, probabilities, size=1_000)
    unseen = (samples == 0) @ probabilities
    estimates = np.array([good_turing(torch.from_numpy(one), torch.tensor(60)).item() for one in samples])
    error = (estimates - unseen).std() / len(samples) ** 0.5
    # the estimate is of one candidate less, which adds to it
    assert -4 * error < (estimates - unseen).mean() < 4 * error + 1 / 60


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_chao_is_right_for_equal_probabilities_and_a_lower_bound_for_others(seed):
    rng = np.random.default_rng(seed)
    for spread, low, high in ((1e6, 0.9, 1.25), (1.0, 0.2, 1.0)):
        samples = rng.multinomial(60, rng.dirichlet(np.full(40, spread)), size=500)
        estimates = [chao(torch.from_numpy(one[one > 0])).item() for one in samples]
        assert low < np.mean(estimates) / (samples == 0).sum(1).mean() < high


def test_solutions_are_counted_over_the_candidates_that_count(problem, generator):
    one = problem("x0", "x1")
    centres = torch.tensor([[0.9, 0.1, 0.1, 0.9], [0.8, 0.3, 0.2, 0.4], [0.5, 0.4, 0.5, 0.9]])
    copies = centres.repeat_interleave(torch.tensor([4, 2, 3]), 0)
    theta = copies + 0.001 * torch.rand(9, 4, generator=generator)
    misfit = torch.tensor([0.0, 5e-5, 5e-5, 0.001, 0.0, 5e-5, 0.0, 0.0, 0.0])
    valid = torch.tensor([True] * 8 + [False])
    exact = valid & (misfit < 1e-4)
    # the fourth passes without being a solution, the last is not valid
    counted = torch.tensor([True, True, False, True, False, False, True, True, True])
    order = torch.randperm(9, generator=generator)
    check = Check(misfit[order], valid[order], valid[order])
    different = counted.clone()
    different[4] = True
    tells = torch.stack([different, counted], dim=1)
    counts = count_solutions(one, one.space.decode(theta[order]), check, tells[order], 5)
    assert sorted((counts.drawn + counts.explored).tolist()) == [0, 2, 2]
    assert counts.drawn.sum() == (exact & counted)[order][:5].sum()
    assert counts.candidates == 5


def test_the_first_of_equal_draws_counts():
    theta = torch.tensor([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0], [0.0, 1.0], [1.0, 2.1]])
    assert firsts(theta).tolist() == [True, True, False, False, True]


def test_the_gain_is_what_the_last_half_of_the_candidates_covers():
    # four candidates that hit a bin of their own each, then four copies of the first
    u = torch.cat([torch.arange(4) / 10 + 0.05, torch.full((4,), 0.05)]).view(1, 8, 1)
    valid = torch.ones(1, 8, dtype=torch.bool)
    chosen = torch.tensor([[0, 1, 2, 3]])
    assert coverage_gain(u, valid, chosen).item() == 0
    assert coverage_gain(u.flip(1), valid, torch.tensor([[4, 5, 6, 7]])).item() == pytest.approx(3 / 4)
    # more candidates than are chosen in the first half, too
    assert coverage_gain(u, valid, torch.tensor([[1, 2]])).item() == 0
    assert coverage_gain(u, ~valid, chosen).isnan()


# --- in generated sets


def conditions(problem, count):
    known = problem.space.sample(count, torch.Generator().manual_seed(5))
    return known, problem.forward(problem.space.decode(known))


FEW = Plan(draws=8, candidates=20, refine_steps=10, explore=60, rounds=15, unseen=0.01)


def test_rounds_go_on_until_all_separate_solutions_are_found(problem):
    problem = problem(*BIRDS, pearson=0.8, rmse=0.1)
    known, y = conditions(problem, 6)
    exact = [one.theta for one in reference_sets(problem, y, known=known)]
    assert max(map(len, exact)) > 1
    once, often = (generate(PriorDraws(problem), problem, y, dataclasses.replace(FEW, rounds=n)) for n in (1, 15))
    assert "rounds" not in once.stages
    assert often.stages["rounds"].draws > 80
    assert often.forward_evaluations > once.forward_evaluations
    assert often.completeness["unseen_at_most"].max() <= 0.01 < once.completeness["unseen_at_most"].max()
    assert often.completeness["found"].tolist() == [len(theta) for theta in exact]
    scaled = problem.space.scaled
    for x, valid, theta in zip(often.x, often.check.valid, exact, strict=True):
        assert mode_hits(scaled(problem.space.encode(x)), valid, scaled(theta)) == len(theta)


def test_rounds_depend_on_the_seed_and_not_on_the_chunks(problem):
    problem = problem(*BIRDS, pearson=0.8, rmse=0.1)
    y = conditions(problem, 4)[1]
    whole, pieces, other = (
        generate(PriorDraws(problem), problem, y, dataclasses.replace(FEW, rounds=3, **change))
        for change in ({}, {"chunk": 1}, {"seed": 1})
    )
    torch.testing.assert_close(pieces.x, whole.x, rtol=0, atol=1e-4)
    assert not torch.equal(other.x, whole.x)
    assert pieces.stages["rounds"] == pytest.approx(whole.stages["rounds"], abs=1e-4)
    for name, values in whole.completeness.items():
        torch.testing.assert_close(pieces.completeness[name], values)


def test_plain_draws_of_separate_solutions_have_no_estimate_and_those_of_a_continuum_a_gain(problem):
    separate, continuum = problem(*BIRDS), problem()
    plain = Plan(draws=8)
    assert generate(PriorDraws(separate), separate, conditions(separate, 3)[1], plan=plain).completeness == {}
    y = conditions(continuum, 3)[1]
    few, many = (
        generate(PriorDraws(continuum), continuum, y, Plan(draws=8, candidates=n, refine_steps=10)).completeness
        for n in (8, 400)
    )
    assert set(few) == set(many) == {"gain"}
    # the more there are to choose from, the less the last half brings
    assert 0 <= many["gain"].mean() < few["gain"].mean() < 1


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"rounds": 0}, "generation.rounds is 0; it must be at least 1"),
        ({"rounds": 2}, r"generation.rounds is 2, which needs generation.explore above 0"),
        ({"unseen": -0.1}, "generation.unseen is -0.1; it must be at least 0"),
        ({"unseen": float("nan")}, "generation.unseen is nan"),
    ],
)
def test_rounds_that_make_no_sense_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        Plan(**numbers)
