import pytest
import torch

from cvae.generation.select import exchange, select_cover, select_separate
from cvae.metrics import coverage
from cvae.problems import Check


@pytest.fixture
def two(problem):
    return problem("x0", "x1")


def verdict(valid, misfit):
    return Check(misfit, torch.ones(*valid.shape, 2), torch.ones_like(valid), valid)


@pytest.fixture
def separate(two, generator):
    """Five copies each of eight solutions, in disorder, and ten draws that pass without being solutions."""
    centres = two.geometry.sample(8, generator)
    copies = centres.repeat_interleave(5, 0) + 0.002 * (torch.rand(40, 2, 2, generator=generator) - 0.5)
    others = two.geometry.sample(10, generator)
    order = torch.randperm(50, generator=generator)
    solution = torch.cat([torch.arange(8).repeat_interleave(5), torch.full((10,), -1)])[order]
    misfit = torch.where(solution >= 0, 0.0005, 0.02) + 0.001 * torch.rand(50, generator=generator)
    x = two.geometry.to_lines(torch.cat([copies, others])[order])
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
    alone = [coverage(x[:, [draw]], torch.ones(1, 1, dtype=torch.bool), (0.0, 1.0)).item() for draw in rest]
    assert coverage(x[:, chosen[8:]], torch.ones(1, 1, dtype=torch.bool), (0.0, 1.0)).item() == max(alone)


def test_of_too_many_solutions_those_are_kept_that_cover_most(two, separate):
    x, check, solution = separate
    chosen = select_separate(two, x, check, 5)[0]
    assert len(set(solution[chosen].tolist())) == 5
    assert -1 not in solution[chosen]
    everything = torch.ones(1, 5, dtype=torch.bool)
    ours = coverage(x[:, chosen], everything, (0.0, 1.0))
    firsts = torch.tensor([(solution == n).nonzero()[0, 0] for n in range(5)])
    assert ours >= coverage(x[:, firsts], everything, (0.0, 1.0))


def test_copies_are_told_by_their_distance_on_any_range(problem, generator):
    for span in (0.01, 100.0):
        wide = problem("x0", "x1", range=[0, span], rmse=0.05)
        endpoints = torch.tensor([[[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.11], [0.1, 0.9]], [[0.9, 0.2], [0.1, 0.9]]]) * span
        check = verdict(torch.ones(1, 3, dtype=torch.bool), torch.tensor([[0.001, 0.0, 0.001]]))
        # the second is a better copy of the first
        assert sorted(select_separate(wide, wide.geometry.to_lines(endpoints)[None], check, 2)[0].tolist()) == [1, 2]


@pytest.mark.parametrize("select", [select_cover, select_separate])
def test_valid_draws_come_first_and_choices_are_deterministic(two, generator, select):
    x = two.geometry.to_lines(two.geometry.sample(60, generator)).unflatten(0, (3, 20))
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
    x = two.geometry.to_lines(two.geometry.sample(60, generator)).unflatten(0, (3, 20))
    valid = torch.rand(3, 20, generator=generator) < 0.7
    check = verdict(valid, 0.01 * torch.rand(3, 20, generator=generator))
    together = select(two, x, check, 7)
    for index in range(3):
        part = slice(index, index + 1)
        assert torch.equal(select(two, x[part], check.at(part), 7), together[part])


def test_an_exchange_takes_what_a_search_over_all_draws_would(problem, generator):
    one = problem(points=12)
    x = one.geometry.to_lines(one.geometry.sample(40, generator)).unsqueeze(0)
    valid = torch.rand(1, 40, generator=generator) < 0.7
    start = torch.arange(5).unsqueeze(0)
    chosen = start[0].tolist()

    def swept(draws):
        return float(coverage(x[:, draws], torch.ones(1, len(draws), dtype=torch.bool), (0.0, 1.0)))

    for _ in range(2):
        for place in range(5):
            others = chosen[:place] + chosen[place + 1 :]
            free = [draw for draw in range(40) if valid[0, draw] and draw not in others]
            best = max(free, key=lambda draw: (round(swept([*others, draw]), 9), -draw), default=chosen[place])
            if swept([*others, best]) > swept(chosen) + 1e-9:
                chosen[place] = best
    assert exchange(x, valid, start, (0.0, 1.0))[0].tolist() == chosen
