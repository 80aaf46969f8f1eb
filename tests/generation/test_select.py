import pytest
import torch

from cvae.generation.select import select_cover, select_separate
from cvae.metrics import Check, coverage, exchange


@pytest.fixture
def two(problem):
    return problem("x0", "x1")


def verdict(valid, misfit):
    return Check(misfit, torch.ones_like(valid), valid, torch.ones(*valid.shape, 2))


def swept(problem, x):
    """Coverage of draws ``(1, draws, *x_shape)`` that all are valid."""
    return coverage(problem.space.coordinates(x), torch.ones(x.shape[:2], dtype=torch.bool))


@pytest.fixture
def separate(two, generator):
    """Five copies each of eight solutions, in disorder, and ten draws that pass without being solutions."""
    centres = two.space.sample(8, generator)
    copies = centres.repeat_interleave(5, 0) + 0.002 * (torch.rand(40, 4, generator=generator) - 0.5)
    others = two.space.sample(10, generator)
    order = torch.randperm(50, generator=generator)
    solution = torch.cat([torch.arange(8).repeat_interleave(5), torch.full((10,), -1)])[order]
    misfit = torch.where(solution >= 0, 0.0, 0.001) + 9e-5 * torch.rand(50, generator=generator)
    x = two.space.decode(torch.cat([copies, others])[order])
    return x[None], verdict(torch.ones(1, 50, dtype=torch.bool), misfit[None]), solution


def test_one_draw_of_each_separate_solution_comes_first_and_it_is_the_best(two, separate):
    x, check, solution = separate
    chosen = select_separate(two, x, check, 12)[0]
    assert chosen.unique().numel() == 12
    assert sorted(solution[chosen[:8]].tolist()) == list(range(8))
    for draw in chosen[:8].tolist():
        copies = (solution == solution[draw]).nonzero().squeeze(1)
        assert check.misfit[0, draw] == check.misfit[0, copies].min()


def test_what_is_left_is_filled_by_what_adds_to_the_coverage(two, separate):
    x, check, _ = separate
    chosen = select_separate(two, x, check, 9)[0]
    rest = [draw for draw in range(50) if draw not in chosen[:8].tolist()]
    assert swept(two, x[:, chosen[8:]]).item() == max(swept(two, x[:, [draw]]).item() for draw in rest)


def test_of_too_many_solutions_those_are_kept_that_cover_most(two, separate):
    x, check, solution = separate
    chosen = select_separate(two, x, check, 5)[0]
    assert len(set(solution[chosen].tolist())) == 5
    assert -1 not in solution[chosen]
    firsts = torch.tensor([(solution == n).nonzero()[0, 0] for n in range(5)])
    assert swept(two, x[:, chosen]) >= swept(two, x[:, firsts])


def test_copies_are_told_by_their_distance_on_any_range(problem, generator):
    for span in (0.01, 100.0):
        wide = problem("x0", "x1", range=[0, span], rmse=0.05)
        theta = torch.tensor([[0.9, 0.1, 0.1, 0.9], [0.9, 0.11, 0.1, 0.9], [0.9, 0.2, 0.1, 0.9]]) * span
        check = verdict(torch.ones(1, 3, dtype=torch.bool), torch.tensor([[5e-5, 0.0, 5e-5]]))
        # the second is a better copy of the first
        assert sorted(select_separate(wide, wide.space.decode(theta)[None], check, 2)[0].tolist()) == [1, 2]


@pytest.mark.parametrize("select", [select_cover, select_separate])
def test_valid_draws_come_first_and_choices_are_deterministic(two, generator, select):
    x = two.space.decode(two.space.sample(60, generator)).unflatten(0, (3, 20))
    valid = torch.rand(3, 20, generator=generator) < 0.4
    misfit = torch.where(valid, 0.001, 1.0)
    misfit[:, ::3] = 0.0
    chosen = select(two, x, verdict(valid, misfit), 12)
    for good, order in zip(valid, chosen, strict=True):
        assert order.unique().numel() == 12
        kept = int(good.sum())
        assert kept < 12
        assert good[order[:kept]].all()
        assert not good[order[kept:]].any()
    assert torch.equal(chosen, select(two, x, verdict(valid, misfit), 12))


@pytest.mark.parametrize("select", [select_cover, select_separate])
def test_a_condition_is_chosen_for_by_itself(two, generator, select):
    x = two.space.decode(two.space.sample(60, generator)).unflatten(0, (3, 20))
    valid = torch.rand(3, 20, generator=generator) < 0.7
    check = verdict(valid, 0.01 * torch.rand(3, 20, generator=generator))
    together = select(two, x, check, 7)
    for index in range(3):
        part = slice(index, index + 1)
        assert torch.equal(select(two, x[part], check.at(part), 7), together[part])


def test_an_exchange_takes_what_a_search_over_all_draws_would(problem, generator):
    one = problem(points=12)
    x = one.space.decode(one.space.sample(40, generator)).unsqueeze(0)
    valid = torch.rand(1, 40, generator=generator) < 0.7
    start = torch.arange(5).unsqueeze(0)
    chosen = start[0].tolist()

    def covered(draws):
        return float(swept(one, x[:, draws]))

    for _ in range(2):
        for place in range(5):
            others = chosen[:place] + chosen[place + 1 :]
            free = [draw for draw in range(40) if valid[0, draw] and draw not in others]
            best = max(free, key=lambda draw: (round(covered([*others, draw]), 9), -draw), default=chosen[place])
            if covered([*others, best]) > covered(chosen) + 1e-9:
                chosen[place] = best
    assert exchange(one.space.coordinates(x), valid, start)[0].tolist() == chosen


# --- vectors


def test_separate_vectors_are_told_apart_by_shares_of_their_own_ranges(vector_problem):
    problem = vector_problem("x0", "x1", bounds=[[0, 1], [0, 1000]])
    # the second is a better copy of the first: 5 of 1000 is little; .05 of 1 is not
    x = torch.tensor([[[0.5, 500.0], [0.5, 505.0], [0.55, 500.0]]])
    check = Check(
        torch.tensor([[5e-5, 0.0, 5e-5]]), torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    )
    assert sorted(select_separate(problem, x, check, 2)[0].tolist()) == [1, 2]


def test_of_vectors_the_selection_takes_what_hits_most_bins(vector_problem):
    problem = vector_problem(bounds=[[0, 1], [0, 10]])
    # five draws in one corner, and two elsewhere
    x = torch.cat([torch.full((5, 2), 0.01), torch.tensor([[0.5, 5.0], [0.9, 9.0]])])[None]
    valid = torch.ones(1, 7, dtype=torch.bool)
    chosen = select_cover(problem, x, Check(torch.zeros(1, 7), valid, valid), 3)[0]
    assert {5, 6} < set(chosen.tolist())
