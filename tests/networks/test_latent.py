import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions

from cvae.networks import BranchedLatent, ConditionedNormal, EnumeratedLatent, Gaussian, GaussianLatent, StandardNormal
from cvae.networks.latent import choose
from cvae.networks.posteriors import gaussian, mutual_information, normal_icdf


def random_gaussian(generator, batch=5, dim=3):
    return Gaussian(*torch.randn(2, batch, dim, generator=generator, dtype=torch.float64))


def as_normal(found):
    return distributions.Normal(found.mean, (0.5 * found.log_var).exp())


def test_log_prob_is_that_of_torch(generator):
    found = random_gaussian(generator)
    z = torch.randn(5, 7, 3, generator=generator, dtype=torch.float64)
    expected = as_normal(found).log_prob(z.transpose(0, 1)).sum(-1).T
    torch.testing.assert_close(found.log_prob(z), expected)


def test_kl_is_that_of_torch(generator):
    first, second = random_gaussian(generator), random_gaussian(generator)
    expected = distributions.kl_divergence(as_normal(first), as_normal(second))
    torch.testing.assert_close(first.kl(second), expected)
    assert torch.equal(first.kl(first), torch.zeros(5, 3, dtype=torch.float64))


def test_kl_is_the_expected_log_ratio_of_samples(generator):
    first, second = random_gaussian(generator, 2, 1), random_gaussian(generator, 2, 1)
    z = first.sample(200_000, generator)
    ratio = (first.log_prob(z) - second.log_prob(z)).mean(1)
    torch.testing.assert_close(ratio, first.kl(second).sum(-1), atol=0.02, rtol=0.02)


def test_samples_follow_the_gaussian(generator):
    found = Gaussian(torch.tensor([[1.0, -2.0], [0.0, 3.0]]), torch.tensor([[0.0, 1.0], [-2.0, 0.5]]))
    z = found.sample(5_000, generator)
    assert z.shape == (2, 5_000, 2)
    for row, column in np.ndindex(2, 2):
        law = stats.norm(found.mean[row, column], np.exp(found.log_var[row, column].item() / 2))
        assert stats.kstest(z[row, :, column].numpy(), law.cdf).pvalue > 0.01


def test_samples_carry_gradients_to_mean_and_variance(generator):
    mean, log_var = torch.randn(2, 4, 3, generator=generator).requires_grad_().unbind(0)
    mean.retain_grad()
    log_var.retain_grad()
    Gaussian(mean, log_var).sample(2, generator).sum().backward()
    torch.testing.assert_close(mean.grad, torch.full((4, 3), 2.0))
    assert (log_var.grad != 0).all()


def test_log_variances_are_bounded():
    mean, log_var = gaussian(torch.tensor([[1e6, -1e6, 1e6, -1e6, 0.5, 3.0]]).reshape(1, 6))
    assert mean.tolist() == [[1e6, -1e6, 1e6]]
    assert log_var.tolist() == [[-12, 0.5, 3]]
    assert gaussian(torch.tensor([[0.0, 1e6]])).log_var == 12


def test_the_inverse_distribution_function_is_that_of_scipy():
    u = torch.linspace(1e-4, 1 - 1e-4, 999, dtype=torch.float64)
    np.testing.assert_allclose(normal_icdf(u).numpy(), stats.norm.ppf(u.numpy()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_the_unit_interval_stay_finite(dtype):
    z = normal_icdf(torch.tensor([0.0, 1.0], dtype=dtype))
    assert z.isfinite().all()
    assert -5 < z[0] < -4.5
    assert 4.5 < z[1] < 5.5


def test_the_standard_prior_is_standard_for_every_condition(generator):
    prior = StandardNormal(3)
    found = prior(torch.randn(4, 50, generator=generator))
    assert torch.equal(found.mean, torch.zeros(4, 3))
    assert torch.equal(found.log_var, torch.zeros(4, 3))


def even_points(batch, draws, dim, generator):
    """Points with evenly spaced coordinates in random order: nothing is more uniform."""
    ranks = torch.rand(batch, draws, dim, generator=generator).argsort(dim=1)
    return (ranks + 0.5) / draws


def test_uniform_points_become_draws_from_the_standard_prior(generator):
    z = StandardNormal(3).icdf(even_points(2, 1_000, 3, generator), torch.zeros(2, 50))
    for values in z.transpose(1, 2).flatten(0, 1).numpy():
        assert stats.kstest(values, "norm").statistic < 0.001


def test_the_temperature_spreads_draws_about_the_mean_of_the_prior(generator):
    y, u = torch.randn(2, 100, generator=generator), torch.rand(2, 9, 3, generator=generator)
    torch.testing.assert_close(StandardNormal(3).icdf(u, y, 1.3), 1.3 * StandardNormal(3).icdf(u, y))


def test_mutual_information_is_that_of_the_batch_s_posteriors(generator):
    posterior = random_gaussian(generator, batch=6)
    z = posterior.sample(1, generator)[:, 0]
    deviation = np.exp(posterior.log_var.numpy() / 2)
    laws = [stats.norm(*each) for each in zip(posterior.mean.numpy(), deviation, strict=True)]
    density = [[law.pdf(one).prod() for law in laws] for one in z.numpy()]
    expected = np.mean([np.log(row[n] / np.mean(row)) for n, row in enumerate(density)])
    assert mutual_information(posterior, z).item() == pytest.approx(expected)


def test_a_collapsed_posterior_has_no_information_and_separate_ones_that_of_their_number(generator):
    same = Gaussian(torch.zeros(8, 2), torch.zeros(8, 2))
    assert mutual_information(same, same.sample(1, generator)[:, 0]).item() == pytest.approx(0, abs=1e-6)
    apart = Gaussian(100 * torch.arange(8.0)[:, None].expand(8, 2), torch.zeros(8, 2))
    assert mutual_information(apart, apart.sample(1, generator)[:, 0]).item() == pytest.approx(np.log(8))


# --- the bound


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("samples", [1, 4])
def test_the_bound_of_a_gaussian_latent_is_mean_cost_plus_weighted_kl(beta, samples, generator):
    posterior, prior = random_gaussian(generator), random_gaussian(generator)
    cost = torch.rand(5, samples, generator=generator, dtype=torch.float64)
    total, kl, weights = GaussianLatent(posterior, prior).bound(cost, beta)
    expected = distributions.kl_divergence(as_normal(posterior), as_normal(prior)).sum(-1)
    torch.testing.assert_close(kl, expected)
    torch.testing.assert_close(total, cost.mean(1) + beta * expected)
    torch.testing.assert_close(weights, torch.full_like(cost, 1 / samples))


@pytest.fixture
def enumerated(generator):
    """Log-prior and cost of six values of a discrete latent, for four samples; the prior need not sum to 1, since only
    some of the values are enumerated."""
    log_prior = torch.randn(4, 9, generator=generator, dtype=torch.float64).log_softmax(1)[:, :6]
    return log_prior, torch.rand(4, 6, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.01, 0.3, 2.0])
def test_the_bound_of_an_enumerated_latent_is_a_log_sum_exp(beta, enumerated):
    log_prior, cost = enumerated
    direct = -beta * np.log(np.sum(np.exp(log_prior.numpy() - cost.numpy() / beta), axis=1))
    np.testing.assert_allclose(EnumeratedLatent(log_prior).bound(cost, beta).total.numpy(), direct)


@pytest.mark.parametrize("beta", [0.01, 0.3, 2.0])
def test_the_bound_of_an_enumerated_latent_is_that_of_its_posterior(beta, enumerated):
    log_prior, cost = enumerated
    total, kl, weights = EnumeratedLatent(log_prior).bound(cost, beta)
    for n in range(4):
        prior, costs = log_prior[n].exp().numpy(), cost[n].numpy()
        q = prior * np.exp(-costs / beta)
        q /= q.sum()
        divergence = np.sum(q * np.log(q / prior))
        np.testing.assert_allclose(weights[n].numpy(), q)
        assert kl[n].item() == pytest.approx(divergence)
        assert total[n].item() == pytest.approx(q @ costs + beta * divergence)


def test_no_other_posterior_gives_an_enumerated_latent_a_lower_bound(enumerated, generator):
    log_prior, cost = enumerated
    total = EnumeratedLatent(log_prior).bound(cost, 0.3).total
    for _ in range(50):
        q = torch.rand(4, 6, generator=generator, dtype=torch.float64).pow(4)
        q /= q.sum(1, keepdim=True)
        assert ((q * cost).sum(1) + 0.3 * (q * (q.log() - log_prior)).sum(1) >= total).all()


@pytest.mark.parametrize("beta", [0.0, 1e-9, 0.3])
def test_weights_sum_to_one_and_carry_no_gradient(beta, enumerated, generator):
    log_prior, cost = enumerated
    latents = (
        EnumeratedLatent(log_prior.requires_grad_()),
        GaussianLatent(random_gaussian(generator, 4), random_gaussian(generator, 4)),
    )
    for latent in latents:
        weights = latent.bound(cost.requires_grad_(), beta).weights
        torch.testing.assert_close(weights.sum(1), torch.ones(4, dtype=torch.float64))
        assert not weights.requires_grad


def test_the_gradient_of_an_enumerated_bound_is_the_posterior(enumerated):
    log_prior, cost = enumerated
    bound = EnumeratedLatent(log_prior).bound(cost.requires_grad_(), 0.3)
    bound.total.sum().backward()
    torch.testing.assert_close(cost.grad, bound.weights)


def test_without_a_weight_of_the_kl_an_enumerated_latent_takes_its_cheapest_value(enumerated):
    log_prior, cost = enumerated
    torch.testing.assert_close(EnumeratedLatent(log_prior).bound(cost, 0.0).total, cost.amin(1), atol=1e-6, rtol=1e-6)


def test_a_conditioned_prior_starts_as_the_standard_normal_and_follows_y() -> None:
    prior, standard = ConditionedNormal(2, 3), StandardNormal(3)
    y, u = torch.randn(4, 2), torch.rand(4, 5, 3)
    torch.testing.assert_close(prior.icdf(u, y, 1.5), standard.icdf(u, y, 1.5))
    with torch.no_grad():
        prior.out.weight[0, 0], prior.out.weight[3, 1] = 2.0, 1.0
    mean, log_var = prior(y)
    torch.testing.assert_close(mean[:, 0], 2 * y[:, 0])
    # the middle of the unit cube is the mean, and the spread follows the log-variance
    torch.testing.assert_close(prior.icdf(torch.full((4, 1, 3), 0.5), y)[:, 0], mean, rtol=0, atol=1e-6)
    spread = (prior.icdf(u, y) - mean.unsqueeze(1)) / standard.icdf(u, y)
    torch.testing.assert_close(spread[:, 0], (0.5 * log_var).exp(), rtol=1e-3, atol=1e-4)


# --- both parts


@pytest.mark.parametrize("beta", [0.01, 0.3])
def test_the_bound_of_branches_is_that_of_both_parts(beta, enumerated, generator):
    log_prior, cost = enumerated
    posterior, prior = random_gaussian(generator, 4), random_gaussian(generator, 4)
    total, kl, weights = BranchedLatent(GaussianLatent(posterior, prior), EnumeratedLatent(log_prior)).bound(cost, beta)
    q = log_prior.exp().numpy() * np.exp(-cost.numpy() / beta)
    of_z = distributions.kl_divergence(as_normal(posterior), as_normal(prior)).sum(-1).numpy()
    np.testing.assert_allclose(total.numpy(), -beta * np.log(q.sum(1)) + beta * of_z)
    q /= q.sum(1, keepdims=True)
    np.testing.assert_allclose(weights.numpy(), q)
    np.testing.assert_allclose(kl.numpy(), of_z + (q * np.log(q / log_prior.exp().numpy())).sum(1))


def test_mutual_information_of_both_parts_counts_posteriors_of_the_same_value_only(generator):
    posterior = random_gaussian(generator, batch=6)
    z, k = posterior.sample(1, generator)[:, 0], torch.tensor([0, 1, 0, 2, 1, 0])
    deviation = np.exp(posterior.log_var.numpy() / 2)
    laws = [stats.norm(*each) for each in zip(posterior.mean.numpy(), deviation, strict=True)]
    density = [[law.pdf(one).prod() for law in laws] for one in z.numpy()]
    expected = np.mean(
        [np.log(row[n] / (sum(row[m] for m in range(6) if k[m] == k[n]) / 6)) for n, row in enumerate(density)]
    )
    assert mutual_information(posterior, z, k).item() == pytest.approx(expected)


def test_values_are_chosen_as_often_as_they_are_due_and_rare_ones_together():
    """Twenty values of .02 each beside one of .6: of ten even points exactly four are of the rare ones."""
    p = torch.full((1, 21), 0.02)
    p[0, 7] = 0.6
    for shift in torch.linspace(0.001, 0.099, 40):
        k = choose(p.log(), (shift + torch.arange(10) / 10).unsqueeze(0)).k
        assert (k == 7).sum() == 6
        assert k.unique().numel() == 5


def test_even_points_are_even_within_each_value_that_they_choose(generator):
    log_prior = torch.randn(3, 7, generator=generator).log_softmax(-1)
    u = (torch.arange(400) + torch.rand(3, 1, generator=generator)) / 400
    for temperature in (1.0, 0.5):
        k, within = choose(log_prior, u, temperature)
        p = (log_prior / temperature).softmax(-1)
        for n in range(3):
            for value in k[n].unique():
                places = within[n][k[n] == value]
                torch.testing.assert_close(places.diff(), torch.full((len(places) - 1,), 1 / 400) / p[n, value])
                assert places[0] <= 1 / 400 / p[n, value]
                assert places[-1] >= 1 - 1 / 400 / p[n, value]


def test_where_a_uniform_point_lies_within_its_value_is_uniform_and_tells_nothing_of_the_value(generator):
    log_prior = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    k, within = choose(log_prior, torch.rand(1, 20_000, generator=generator))
    for value in range(4):
        assert stats.kstest(within[0][k[0] == value].numpy(), "uniform").pvalue > 0.01


def test_point_beyond_the_sum_of_rounded_probabilities_is_at_the_end_of_the_last_value(generator):
    rows = torch.randn(200, 64, generator=generator).mul(3).log_softmax(-1)
    short = rows[rows.log_softmax(-1).sort(descending=True).values.exp().cumsum(1)[:, -1] < 1]
    assert len(short) > 10
    k, within = choose(short, torch.ones(len(short), 1))
    assert (k[:, 0] == short.argmin(1)).all()
    assert (within == 1).all()


def test_half_precision_of_probabilities_loses_no_draw(generator):
    p = torch.full((1, 64), 1 / 64)
    k, within = choose(p.log().bfloat16(), (torch.arange(6_400) + 0.5).unsqueeze(0) / 6_400)
    assert (k[0].bincount(minlength=64) - 100).abs().max() <= 1
    assert ((within > 0) & (within < 1)).all()
