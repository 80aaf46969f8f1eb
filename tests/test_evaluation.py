import pytest
import torch

from cvae.draws import point_set
from cvae.evaluation import draw_and_check


@pytest.fixture
def task(problem, generator):
    """A problem, 7 conditions, and a decoder that makes lines of points in the cube."""
    problem = problem()
    geometry = problem.geometry
    y = problem.forward(geometry.to_lines(geometry.sample(7, generator)))

    def decode(y, u):
        return geometry.to_lines(geometry.order(u.unflatten(-1, (2, 2)))) + 0 * y.unsqueeze(1)

    return problem, y, decode


def collect(task, seed=0, points="sobol", **options):
    """Everything drawn, in the order of the conditions, over all processes."""
    problem, y, decode = task
    world = options.pop("world", 1)
    pieces = [
        piece
        for rank in range(world)
        for piece in draw_and_check(
            decode, problem, y, 5, 4, point_set(points), torch.Generator().manual_seed(seed),
            rank=rank, world=world, **options,
        )
    ]  # fmt: skip
    which = torch.cat([piece.which for piece in pieces])
    order = which.argsort()
    assert which[order].tolist() == list(range(7))
    return torch.cat([piece.x for piece in pieces])[order], torch.cat([piece.check.misfit for piece in pieces])[order]


@pytest.mark.parametrize("points", ["sobol", "random"])
@pytest.mark.parametrize("world", [2, 3, 9])
def test_draws_do_not_depend_on_the_number_of_processes(task, points, world):
    x, misfit = collect(task, points=points)
    again, misfit_again = collect(task, points=points, world=world)
    assert torch.equal(again, x)
    torch.testing.assert_close(misfit_again, misfit)


@pytest.mark.parametrize("chunk", [1, 5, 11, 1_000])
def test_draws_do_not_depend_on_how_many_are_decoded_at_once(task, chunk):
    assert torch.equal(collect(task, chunk=chunk)[0], collect(task)[0])


def test_no_more_draws_are_decoded_at_once_than_allowed(task):
    problem, y, decode = task
    sizes = []

    def watched(y, u):
        sizes.append(u.shape[0] * u.shape[1])
        return decode(y, u)

    collect((problem, y, watched), chunk=11)
    assert sizes == [10, 10, 10, 5]


def test_the_generator_fixes_the_draws(task):
    assert torch.equal(collect(task, seed=1)[0], collect(task, seed=1)[0])
    assert not torch.equal(collect(task, seed=1)[0], collect(task, seed=2)[0])


def test_draws_are_checked_against_their_own_condition(task):
    problem, y, _ = task
    x, misfit = collect(task, world=2)
    torch.testing.assert_close(misfit, problem.check(x, y).misfit)
