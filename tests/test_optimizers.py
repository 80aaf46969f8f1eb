"""Muon and AdamW in one optimizer."""

import copy

import pytest
import torch
from torch import nn

from cvae.errors import UserError
from cvae.optimizers import MuonAdamW


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 2))


def train(net, optimizers, steps=5, first=0):
    for step in range(first, first + steps):
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        loss = (net(x) - x[:, :2].sin()).square().mean()
        for one in optimizers:
            one.zero_grad()
        loss.backward()
        for one in optimizers:
            one.step()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_matrix_without_elements_is_passed_over():
    """That of a network which is given no condition."""
    with pytest.warns(UserWarning, match="zero-element"):
        net, empty = network(), nn.Linear(0, 4)
    optimizer = MuonAdamW([*net.parameters(), *empty.parameters()])
    before = net[0].weight.clone()
    (net(torch.ones(1, 3)).sum() + empty(torch.ones(1, 0)).sum()).backward()
    optimizer.step()
    assert not torch.equal(net[0].weight, before)


def test_it_does_what_both_of_torch_do_apart():
    one, other = network(), network()
    train(one, [MuonAdamW(one.parameters(), lr=1e-2, matrix_lr=0.02, weight_decay=0.1)])
    matrices = [p for p in other.parameters() if p.dim() == 2]
    biases = [p for p in other.parameters() if p.dim() == 1]
    train(
        other,
        [
            torch.optim.AdamW(biases, lr=1e-2, weight_decay=0.1),
            torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, ns_steps=3),
        ],
    )
    assert same(one, other)


def test_a_state_that_is_loaded_goes_on_to_the_same_weights():
    one = network()
    first = MuonAdamW(one.parameters())
    train(one, [first])
    other = copy.deepcopy(one)
    second = MuonAdamW(other.parameters())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(one, [first], first=5)
    train(other, [second], first=5)
    assert same(one, other)


def test_a_schedule_moves_both_rates():
    net = network()
    optimizer = MuonAdamW(net.parameters(), lr=1e-2, matrix_lr=0.02)
    before = copy.deepcopy(net)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    train(net, [optimizer])
    assert same(net, before)
    assert schedule.get_last_lr() == [0.0, 0.0]


@pytest.mark.parametrize("keep", [1, 2])
def test_parameters_of_one_kind_alone_are_trained(keep):
    net = network()
    before = copy.deepcopy(net)
    train(net, [MuonAdamW([p for p in net.parameters() if p.dim() == keep])])
    moved = [not torch.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True)]
    assert moved == [p.dim() == keep for p in net.parameters()]


@pytest.mark.parametrize("name", ["lr", "matrix_lr", "weight_decay"])
def test_a_negative_rate_is_refused(name):
    with pytest.raises(UserError, match=f"optimizer.{name} is -1.0"):
        MuonAdamW(network().parameters(), **{name: -1.0})
