"""Large sets of draws in pieces."""

from __future__ import annotations

import pytest
import torch

from cvae import pieces as module
from cvae.generation.generate import check_in_pieces
from cvae.generation.select import exchange
from cvae.metrics import coverage, greedy_cover
from cvae.pieces import piece_size, pieces


@pytest.mark.parametrize(
    ("batch", "draws", "size"), [(3, 5, 7), (3, 5, 100), (3, 5, 2), (1, 10, 10), (2, 1, 1), (0, 4, 3)]
)
def test_pieces_visit_every_draw_once_and_hold_no_more_than_asked(batch: int, draws: int, size: int) -> None:
    visits = torch.zeros(batch, draws)
    for some, part in pieces(batch, draws, size):
        assert 0 < visits[some, part].numel() <= size
        visits[some, part] += 1
    assert (visits == 1).all()


def test_an_accelerator_gets_more_at_once() -> None:
    assert piece_size(torch.device("cuda")) > piece_size(torch.device("cpu"))


def test_long_draws_come_fewer_at_a_time() -> None:
    device = torch.device("cpu")
    assert piece_size(device, 2_000) == piece_size(device) // 20
    assert piece_size(device, 10**9) == 1


@pytest.mark.parametrize("size", [3, 8, 40])
def test_results_do_not_depend_on_the_pieces(problem, generator, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    one = problem()
    x = one.geometry.to_lines(one.geometry.sample(60, generator)).unflatten(0, (3, 20))
    y = one.forward(x[:, 0])
    check = one.check(x, y)
    valid = torch.rand(3, 20, generator=generator) < 0.8

    def results() -> tuple[torch.Tensor, ...]:
        chosen = greedy_cover(x, valid, 5, (0.0, 1.0))
        return coverage(x, valid, (0.0, 1.0)), chosen, exchange(x, valid, chosen, (0.0, 1.0))

    whole = results()
    monkeypatch.setattr(module, "ON_CPU", size)
    assert all(torch.equal(a, b) for a, b in zip(whole, results(), strict=True))
    for a, b in zip(check, check_in_pieces(one, x, y), strict=True):
        torch.testing.assert_close(a, b)
