"""Uniform and Student's t posteriors; the Gaussian one is tested with its latent."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from cvae.networks import StudentT, Uniform
from cvae.networks.posteriors import HALF_SIDE, mutual_information, student_nodes, student_t, uniform

#: outputs of an encoder, from usual to absurd ones
OUTPUTS = torch.cat([torch.randn(50, 6, generator=torch.Generator().manual_seed(1)) * size for size in (1, 5, 1e4)])


def laws(posterior: Uniform | StudentT) -> list[list[Any]]:
    """The same distributions from scipy, by sample and latent dimension."""
    if isinstance(posterior, Uniform):
        made, scales = stats.uniform, 2 * posterior.log_width.exp()
        places = posterior.mean - posterior.log_width.exp()
    else:
        made, scales, places = partial(stats.t, posterior.degrees), posterior.log_scale.exp(), posterior.mean
    return [list(map(made, *rows)) for rows in zip(places.tolist(), scales.tolist(), strict=True)]


POSTERIORS = {
    "uniform": uniform(OUTPUTS[:3].double()),
    "t": student_t(OUTPUTS[:3].double(), 3.5),
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_samples_follow_the_distribution_of_scipy(name: str, generator: torch.Generator) -> None:
    posterior = POSTERIORS[name]
    z = posterior.sample(4_000, generator)
    assert z.shape == (3, 4_000, 3)
    for i, row in enumerate(laws(posterior)):
        for j, law in enumerate(row):
            assert stats.kstest(z[i, :, j].numpy(), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", POSTERIORS)
def test_log_prob_is_that_of_scipy(name: str, generator: torch.Generator) -> None:
    posterior = POSTERIORS[name]
    z = posterior.sample(5, generator)
    expected = [
        sum(law.logpdf(z[i, :, j].numpy()) for j, law in enumerate(row)) for i, row in enumerate(laws(posterior))
    ]
    np.testing.assert_allclose(posterior.log_prob(z).numpy(), np.stack(expected), rtol=1e-5, atol=1e-5)


def test_outside_of_its_interval_a_uniform_posterior_has_no_density() -> None:
    posterior = Uniform(torch.zeros(1, 2), torch.zeros(1, 2))
    z = torch.tensor([[[0.5, -0.9], [0.5, 1.1], [-1.1, 0.0]]])
    assert posterior.log_prob(z).isfinite().tolist() == [[True, False, False]]


def test_no_uniform_posterior_leaves_the_box_whatever_the_encoder_says() -> None:
    posterior = uniform(OUTPUTS)
    width = posterior.log_width.exp()
    assert (posterior.mean.abs() + width <= HALF_SIDE * (1 + 1e-6)).all()
    assert (width > 0).all()
    # it reaches from nearly the whole box to a narrow interval anywhere in it
    found = uniform(torch.tensor([[0.0, 50.0], [50.0, 50.0], [0.0, -50.0]]))
    torch.testing.assert_close(found.mean[:, 0] / HALF_SIDE, torch.tensor([0.0, 1.0, 0.0]), atol=0.01, rtol=0)
    torch.testing.assert_close(
        found.log_width.exp()[:, 0] / HALF_SIDE, torch.tensor([1.0, 0.0, 0.0]), atol=0.01, rtol=0
    )


def test_a_uniform_posterior_that_fills_the_box_can_still_move() -> None:
    outputs = torch.tensor([[0.01, 20.0]]).requires_grad_()
    uniform(outputs).mean.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad[0, 0] > 1


@pytest.mark.parametrize("make", [uniform, lambda outputs: student_t(outputs, 5.0)], ids=["uniform", "t"])
def test_absurd_outputs_give_finite_samples_densities_and_gradients(make, generator: torch.Generator) -> None:
    outputs = OUTPUTS.clone().requires_grad_()
    posterior = make(outputs)
    z = posterior.sample(4, generator)
    density = posterior.log_prob(z)
    (z.sum() + density.sum()).backward()
    assert z.isfinite().all()
    assert density.isfinite().all()
    assert outputs.grad.isfinite().all()
    assert mutual_information(posterior, z[:, 0]).item() <= np.log(len(z)) + 1e-4


@pytest.mark.parametrize("name", POSTERIORS)
def test_mutual_information_is_that_of_the_batch_s_posteriors(name: str, generator: torch.Generator) -> None:
    posterior = POSTERIORS[name]
    z = posterior.sample(1, generator)[:, 0]
    density = np.array(
        [
            [np.prod([law.pdf(v) for law, v in zip(row, one.numpy(), strict=True)]) for row in laws(posterior)]
            for one in z
        ]
    )
    expected = np.mean([np.log(row[n] / np.mean(row)) for n, row in enumerate(density)])
    assert mutual_information(posterior, z).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("degrees", [2.1, 5.0, 60.0])
def test_nodes_of_the_quantile_function_are_those_of_scipy(degrees: float) -> None:
    scores, quantiles = student_nodes(degrees)
    usual = (scores > 0.01) & (scores < 4.8)
    assert usual.sum() > 500
    expected = stats.t(degrees).isf(stats.norm.sf(scores[usual].numpy()))
    np.testing.assert_allclose(quantiles[usual].numpy(), expected, rtol=1e-4)
