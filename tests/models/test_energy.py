"""The energy-based model: its density, its draws, its chains and what it refuses."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, distributions, nn

from cvae.data import Batch
from cvae.errors import UserError
from cvae.losses import ContrastiveDivergence, Progress
from cvae.models import EnergyModel, Evaluation
from cvae.models.checkpoints import KEY
from cvae.networks import EnergyNetwork, energy
from cvae.networks.trunks import Dense
from cvae.tasks import SwissRoll

NOTHING = torch.empty(1, 0)
MEANS, SPREAD = torch.tensor([[-0.8, 0.0], [0.8, 0.5]]), 0.6
TRUE = distributions.MixtureSameFamily(
    distributions.Categorical(torch.tensor([0.4, 0.6])),
    distributions.MultivariateNormal(MEANS, SPREAD**2 * torch.eye(2)),
)


class Known(EnergyNetwork):
    """The energy of the mixture, shifted, so that its normaliser is e to the -3."""

    def __init__(self) -> None:
        super().__init__(Dense(2, [1]), spread=3.0)

    def forward(self, x: Tensor) -> Tensor:
        # by hand, since the distributions of torch take ten times as long
        first, second = (-(x - mean).square().sum(-1) / (2 * SPREAD**2) for mean in MEANS)
        return 3 + math.log(2 * math.pi * SPREAD**2) - torch.logaddexp(math.log(0.4) + first, math.log(0.6) + second)


def flat() -> EnergyNetwork:
    """The reference measure alone."""
    network = energy([2], [4])
    nn.init.zeros_(network.out.weight)
    return network


def make(network: EnergyNetwork | None = None, chains: int = 64, evaluation: Any = None, **entries: Any) -> EnergyModel:
    torch.manual_seed(0)
    settings = {"chains": chains, "steps": 5, "step_size": 0.05, "restarts": 0.05 * (chains > 0), "decay": 1e-3}
    evaluation = Evaluation(**{"draws": 10, "steps": 200, "step_size": 0.05} | (evaluation or {}))
    objective = ContrastiveDivergence(**settings | entries)
    model = EnergyModel(energy([2], [32, 32]) if network is None else network, objective, SwissRoll(), evaluation)
    model.chains.copy_(3 * torch.randn(chains, 2))
    return model


def pairs(count: int) -> Batch:
    return Batch(TRUE.sample((count,)), torch.empty(count, 0))


# --- density and draws


def test_the_density_has_the_normaliser_of_a_known_energy() -> None:
    batch = pairs(40)
    model = make(Known())
    torch.testing.assert_close(model.log_prob(batch.x), TRUE.log_prob(batch.x), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.log_likelihood(batch, 200), TRUE.log_prob(batch.x), atol=1e-4, rtol=0)
    assert float(model.log_normaliser()) == pytest.approx(-3, abs=1e-4)
    assert model.log_prob(batch.x.view(4, 10, 2)).shape == (4, 10)


def test_the_curvature_is_that_of_a_known_energy() -> None:
    class Bowl(EnergyNetwork):
        def forward(self, x: Tensor) -> Tensor:
            return x[..., 0].square() + 2 * x[..., 0] * x[..., 1] + 3 * x[..., 1].square()

    # the Hessian is [[2, 2], [2, 6]]
    torch.testing.assert_close(make(Bowl(Dense(2, [1]), 3.0)).curvature(pairs(4).x), torch.full((4,), 4 + math.sqrt(8)))


def test_draws_have_mean_and_covariance_of_the_density(generator: torch.Generator) -> None:
    x = make(Known(), evaluation={"steps": 400, "step_size": 0.03}).draw(NOTHING, 1_000, generator)[0]
    truth = TRUE.sample((50_000,))
    torch.testing.assert_close(x.mean(0), truth.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(x.T.cov(), truth.T.cov(), atol=0.15, rtol=0)


@pytest.mark.parametrize("point_set", ["random", "sobol"])
@pytest.mark.parametrize("temperature", [0.25, 1.0])
def test_temperature_flattens_the_energy(point_set: str, temperature: float, generator: torch.Generator) -> None:
    settings = {"steps": 60, "step_size": 1.0, "point_set": point_set}
    own = make(flat(), evaluation=settings | {"temperature": temperature}).draw(NOTHING, 4_000, generator)
    other = make(flat(), evaluation=settings).tempered(temperature).draw(NOTHING, 4_000, generator)
    for x in (own, other):
        # precision of the reference measure, divided by the temperature; and the bias of the step
        precision = 1 / 9 / temperature
        torch.testing.assert_close(x[0].var(0), torch.full((2,), 1 / precision / (1 - precision / 2)), rtol=0.1, atol=0)


def test_a_start_without_steps_is_that_of_the_reference_measure(generator: torch.Generator) -> None:
    x = make(evaluation={"steps": 0}).draw(torch.empty(3, 0), 2_000, generator)
    assert x.shape == (3, 2_000, 2)
    torch.testing.assert_close(x.flatten(0, 1).var(0), torch.full((2,), 9.0), rtol=0.06, atol=0)


def test_the_generator_fixes_the_draws() -> None:
    first, same, other = (make().draw(NOTHING, 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


class Cliff(EnergyNetwork):
    """Where x1 is positive the curvature along x0 is too large for the step size."""

    def __init__(self) -> None:
        super().__init__(Dense(2, [1]), spread=3.0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x[..., 1] > 0, 1e3, 1.0) * x[..., 0].square()


def test_diverged_chains_are_said_and_are_no_draws(
    generator: torch.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    model = make(Cliff(), evaluation={"steps": 3, "step_size": 1e-2, "point_set": "random"})
    with caplog.at_level(logging.WARNING):
        x = model.draw(NOTHING, 200, generator)[0]
    lost = x.isnan().any(1)
    assert 20 < int(lost.sum()) < 180
    assert f"{int(lost.sum())} of 200 chains diverged" in caplog.text
    assert x[lost].isnan().all()
    assert x[~lost].isfinite().all()


def test_draws_that_all_diverge_are_an_error_with_a_remedy(generator: torch.Generator) -> None:
    model = make(flat(), evaluation={"steps": 100, "step_size": 100.0})
    with pytest.raises(UserError, match=r"all 50 chains diverged with evaluation\.step_size=100\.0; make it smaller"):
        model.draw(NOTHING, 50, generator)
    with pytest.raises(UserError, match=r"all chains diverged with loss\.step_size=1000\.0"):
        make(flat(), step_size=1000.0, steps=50).loss(pairs(64), Progress(0, 1))


# --- training


def trained(model: EnergyModel, steps: int = 300) -> float:
    """Mean log-likelihood of fresh points after some steps, less that of the truth."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / steps)
        optimizer.zero_grad()
        model.loss(pairs(64), Progress(step, steps))["loss"].mean().backward()
        optimizer.step()
    batch = pairs(500)
    return float((model.log_likelihood(batch, 121) - TRUE.log_prob(batch.x)).mean())


@pytest.mark.parametrize("chains", [64, 0])
def test_contrastive_divergence_learns_the_density(chains: int) -> None:
    assert trained(make(chains=chains), steps=0) < -1.5
    assert trained(make(chains=chains)) > -0.2


def test_the_gradient_is_that_of_the_likelihood_where_chains_are_of_the_model(generator: torch.Generator) -> None:
    model, data = make(chains=0, decay=0.0), pairs(500).x
    # samples of the model itself, by its density on a grid
    places = torch.cartesian_prod(*[torch.linspace(-12, 12, 121)] * 2)
    index = torch.multinomial(model.log_prob(places).exp(), 50_000, replacement=True, generator=generator)
    model.objective(model.network(data).mean(0, True), model.network(places[index]).mean(0, True))["loss"].backward()
    found = torch.cat([part.grad.flatten() for part in model.parameters() if part.grad is not None])
    model.zero_grad()
    energies = model.network(places)
    (model.network(data).mean() + (-energies).logsumexp(0)).backward()
    true = torch.cat([part.grad.flatten() for part in model.parameters() if part.grad is not None])
    assert float((found - true).norm() / true.norm()) < 0.05


def test_persistent_chains_go_on_and_few_begin_anew() -> None:
    model = make(flat(), steps=1, step_size=1e-8)
    before = model.chains.clone()
    model.loss(pairs(64), Progress(0, 1))
    moved = (model.chains - before).norm(dim=1) > 0.1
    assert int(moved.sum()) < 15
    every = make(flat(), steps=1, step_size=1e-8, restarts=1.0)
    before = every.chains.clone()
    every.loss(pairs(64), Progress(0, 1))
    assert int(((every.chains - before).norm(dim=1) > 0.1).sum()) > 55


def test_only_as_many_chains_as_data_move() -> None:
    model = make(chains=100)
    before = model.chains.clone()
    model.loss(pairs(30), Progress(0, 1))
    assert int((model.chains != before).any(1).sum()) == 30


@pytest.mark.parametrize("chains", [64, 0])
def test_validation_moves_no_chain_and_repeats_itself(chains: int) -> None:
    model, batch = make(chains=chains), pairs(200)
    before = model.chains.clone()
    first, second = model.loss(batch), model.loss(batch)
    assert torch.equal(model.chains, before)
    assert first.keys() == set(EnergyModel.terms)
    assert all(torch.equal(first[name], second[name]) and first[name].shape == (200,) for name in first)


def test_a_diverged_chain_of_the_training_begins_anew_and_is_counted() -> None:
    model = make(Cliff(), steps=3, step_size=1e-2, decay=0.0)
    terms = model.loss(pairs(64), Progress(0, 1))
    assert 0 < float(terms["diverged"].sum()) < 64
    assert model.chains.isfinite().all()
    assert all(value.isfinite().all() for value in terms.values())


@pytest.mark.parametrize(("chains", "kept"), [(64, True), (80, False), (0, False)])
def test_fine_tuning_goes_on_with_the_chains_if_they_are_as_many(tmp_path: Path, chains: int, kept: bool) -> None:
    first, model, new, trainer = make(), make(chains=chains), make(chains=chains), Mock(world_size=1, ckpt_path=None)
    nn.init.ones_(first.network.out.weight)
    torch.save({"state_dict": first.state_dict(), KEY: {}}, tmp_path / "first.ckpt")
    model.initialize(tmp_path / "first.ckpt")
    for one in (model, new):
        one.trainer = trainer
        one.setup("fit")
    assert torch.equal(model.chains, first.chains if kept else new.chains)
    assert not kept or not torch.equal(new.chains, first.chains)
    assert bool((model.network.out.weight == 1).all())


# --- what is refused


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"chains": -1}, r"loss\.chains is -1"),
        ({"steps": 0}, r"loss\.steps is 0"),
        ({"step_size": -1.0}, r"loss\.step_size is -1\.0"),
        ({"restarts": 1.5}, r"loss\.restarts is 1\.5"),
        ({"chains": 0, "restarts": 0.1}, r"loss\.restarts is 0\.1, but loss\.chains=0 has no chains"),
        ({"decay": math.inf}, r"loss\.decay is inf"),
        ({"evaluation": {"steps": None}}, "lacks the steps"),
        ({"evaluation": {"step_size": 0.0}}, r"evaluation\.step_size is 0\.0"),
    ],
)
def test_bounds(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**entries)
