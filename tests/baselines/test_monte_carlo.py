"""Draws by acceptance-rejection and Metropolis-Hastings against densities whose answers are known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from cvae.baselines import AcceptanceRejection, MetropolisHastings, monte_carlo
from cvae.errors import UserError

EMPTY = torch.empty(1, 0)
BOTH = (AcceptanceRejection, MetropolisHastings)


def two_modes(x: Tensor, y: Tensor) -> Tensor:
    """0.3 N(-4, 1) + 0.7 N(4, 0.5^2) of x ``(count, 1)``, up to a factor."""
    parts = [0.3 * (-0.5 * (x + 4) ** 2).exp(), 0.7 * 2 * (-0.5 * ((x - 4) / 0.5) ** 2).exp()]
    return (100 * sum(parts)).log().squeeze(1)


def distribution(value: np.ndarray) -> np.ndarray:
    return 0.3 * stats.norm.cdf(value, -4, 1) + 0.7 * stats.norm.cdf(value, 4, 0.5)


def points(generator: torch.Generator) -> Tensor:
    """Where the two modes roughly are."""
    return 4 * torch.randn(500, 1, dtype=torch.float64, generator=generator)


def test_accepted_draws_follow_the_density(generator: torch.Generator) -> None:
    sampler = AcceptanceRejection(two_modes, points(generator))
    draws = sampler.draw(EMPTY, 10_000, generator)
    assert draws.shape == (1, 10_000, 1)
    assert stats.kstest(draws.numpy().ravel(), distribution).pvalue > 0.001
    assert sampler.reports[0].exceeded == 0


def test_acceptance_is_the_share_below_the_envelope(generator: torch.Generator) -> None:
    given = points(generator)
    sampler = AcceptanceRejection(two_modes, given)
    sampler.draw(EMPTY, 20_000, generator)
    proposal = stats.t(5, float(given.mean()), float(given.std()))
    places = np.linspace(-10, 10, 100_001)
    density = 0.3 * stats.norm.pdf(places, -4, 1) + 0.7 * stats.norm.pdf(places, 4, 0.5)
    highest = (density / proposal.pdf(places)).max()
    assert sampler.reports[0].acceptance == pytest.approx(1 / (1.05 * highest), rel=0.05)


def test_an_envelope_that_is_exceeded_is_said(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(monte_carlo, "MARGIN", -1.0)
    sampler = AcceptanceRejection(two_modes, points(generator))
    sampler.draw(EMPTY, 1_000, generator)
    assert sampler.reports[0].exceeded > 0
    assert f"{sampler.reports[0].exceeded} of" in caplog.text
    assert "exceed the envelope" in caplog.text


def test_a_density_out_of_reach_ends_with_a_message(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monte_carlo, "MOST", 20_000)
    sampler = AcceptanceRejection(lambda x, y: -0.5 * (1e4 * (x[:, 0] - 3)) ** 2, points(generator))
    with pytest.raises(UserError, match=r"20,000 proposals give \d+ of 500 draws"):
        sampler.draw(EMPTY, 500, generator)


def test_metropolis_hastings_finds_the_weights_of_both_modes(generator: torch.Generator) -> None:
    sampler = MetropolisHastings(two_modes, points(generator))
    draws = sampler.draw(EMPTY, 4_000, generator).ravel()
    left = draws < 0
    # one draw in each autocorrelation time: a standard deviation of about 0.007 for the weight
    assert float(left.double().mean()) == pytest.approx(0.3, abs=0.03)
    for mode, mean, spread in ((draws[left], -4, 1), (draws[~left], 4, 0.5)):
        assert float(mode.mean()) == pytest.approx(mean, abs=0.12 * spread)
        assert float(mode.std()) == pytest.approx(spread, rel=0.08)


def test_metropolis_hastings_of_a_gaussian_and_its_report(generator: torch.Generator) -> None:
    covariance = np.array([[2.0, 0.9, 0.0], [0.9, 1.0, -0.3], [0.0, -0.3, 0.5]])
    truth = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0, 3.0]), torch.tensor(covariance).float())
    sampler = MetropolisHastings(lambda x, y: truth.log_prob(x), truth.sample((200,)))
    draws = sampler.draw(EMPTY, 5_000, generator)[0].double().numpy()
    np.testing.assert_allclose(draws.mean(0), [1, -2, 3], atol=0.08)
    np.testing.assert_allclose(np.cov(draws, rowvar=False), covariance, atol=0.15)
    (report,) = sampler.reports
    assert report.steps >= 50 * report.autocorrelation > 50
    assert 0.05 < report.acceptance < 0.6


def test_a_chain_that_is_too_short_is_said(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(monte_carlo, "STEPS", 100)
    monkeypatch.setattr(monte_carlo, "MOST_STEPS", 200)
    draws = MetropolisHastings(two_modes, points(generator)).draw(EMPTY, 500, generator)
    assert draws.shape == (1, 500, 1)
    assert "the chain ended after 200 steps" in caplog.text


@pytest.mark.parametrize("kind", BOTH)
def test_each_condition_has_draws_of_its_own(kind: type, generator: torch.Generator) -> None:
    sampler = kind(lambda x, y: -0.5 * (x - y).square().sum(1), torch.randn(100, 2, generator=generator))
    y = torch.tensor([[-1.0, 0.0], [2.0, 1.0]])
    draws = sampler.draw(y, 2_000, generator)
    assert draws.shape == (2, 2_000, 2)
    torch.testing.assert_close(draws.mean(1), y, atol=0.12, rtol=0)
    assert len(sampler.reports) == 2


@pytest.mark.parametrize("kind", BOTH)
def test_the_generator_alone_decides(kind: type, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monte_carlo, "LENGTH", 10)
    sampler = kind(two_modes, points(generator))
    before = np.random.get_state()[1].tolist()
    first, same, other = (sampler.draw(EMPTY, 50, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("kind", BOTH)
def test_a_density_that_is_no_number_is_said(kind: type, generator: torch.Generator) -> None:
    with pytest.raises(UserError, match=r"log-density of \[\S+\] is not a number"):
        kind(lambda x, y: x[:, 0].log(), points(generator)).draw(EMPTY, 10, generator)


@pytest.mark.parametrize("kind", BOTH)
def test_points_in_a_plane_are_refused(kind: type, generator: torch.Generator) -> None:
    flat = torch.cat([points(generator), torch.ones(500, 1)], 1)
    with pytest.raises(UserError, match="covariance of the 500 points is not positive definite"):
        kind(two_modes, flat)


def test_walkers_without_density_are_an_error(generator: torch.Generator) -> None:
    sampler = MetropolisHastings(lambda x, y: torch.full((len(x),), -torch.inf), points(generator))
    with pytest.raises(UserError, match="no walker finds any density in 250 steps; give nearer points"):
        sampler.draw(EMPTY, 10, generator)


def test_walkers_that_never_move_are_an_error(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monte_carlo, "MOST_STEPS", 250)
    calls = iter([0.0])

    def at_the_start(x: Tensor, y: Tensor) -> Tensor:
        return torch.full((len(x),), next(calls, -torch.inf))

    with pytest.raises(UserError, match="a walker has not moved in 250 steps"):
        MetropolisHastings(at_the_start, points(generator)).draw(EMPTY, 10, generator)


def test_more_draws_than_a_chain_has_are_refused(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monte_carlo, "MOST_STEPS", 250)
    sampler = MetropolisHastings(two_modes, points(generator))
    with pytest.raises(UserError, match=r"the chain gives \d+ of 30000 draws; ask for fewer"):
        sampler.draw(EMPTY, 30_000, generator)


def test_without_emcee_the_message_names_the_extra(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "emcee", None)
    with pytest.raises(UserError, match=r"needs the package emcee: pip install -e '\.\[bench\]'"):
        MetropolisHastings(two_modes, points(generator))
