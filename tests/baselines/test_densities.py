"""Fitted densities against scipy, scikit-learn and known mixtures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import logsumexp
from sklearn.neighbors import KernelDensity as Estimator

from cvae.baselines import GaussianDensity, KernelDensity, MixtureDensity
from cvae.baselines.densities import RADII, Density
from cvae.data import Batch
from cvae.errors import UserError
from cvae.tasks import GaussianMixture

NOTHING = torch.empty(1, 0)


def moons(count: int, seed: int = 0) -> Batch:
    """Pairs of which y is bent and x depends on it: two columns of x, one of y, in units of their own."""
    rng = np.random.default_rng(seed)
    y = rng.uniform(-2, 2, count)
    x = np.stack([5 * y**2 + rng.normal(0, 2, count), 100 + y * rng.normal(1, 0.3, count)], 1)
    return Batch(torch.from_numpy(x).float(), torch.from_numpy(y[:, None]).float())


def alone(x: np.ndarray) -> Batch:
    """Points that nothing is given for."""
    return Batch(torch.from_numpy(x), torch.empty(len(x), 0))


@pytest.fixture(scope="module")
def fitted() -> dict[str, Density]:
    pairs = moons(600)
    return {
        "gaussian": GaussianDensity(pairs),
        "mixture": MixtureDensity(pairs, most=4),
        "kernel": KernelDensity(pairs),
    }


def test_gaussian_density_is_the_conditional_one_of_scipy(fitted: dict[str, Density]) -> None:
    x, y = (part.double() for part in moons(50, seed=1))
    sample = torch.cat(list(moons(600)), 1).double().numpy()
    mean, covariance = sample.mean(0), np.cov(sample, rowvar=False, bias=True)
    joint = stats.multivariate_normal(mean, covariance).logpdf(torch.cat([x, y], 1).numpy())
    marginal = stats.multivariate_normal(mean[2:], covariance[2:, 2:]).logpdf(y.numpy())
    np.testing.assert_allclose(fitted["gaussian"].log_prob(x, y).numpy(), joint - marginal, rtol=1e-4)


def test_gaussian_draws_have_the_conditional_mean_and_covariance(
    fitted: dict[str, Density], generator: torch.Generator
) -> None:
    sample = torch.cat(list(moons(600)), 1).double().numpy()
    precision = np.linalg.inv(np.cov(sample, rowvar=False, bias=True))
    covariance = np.linalg.inv(precision[:2, :2])
    y = torch.tensor([[-1.5], [1.0]], dtype=torch.float64)
    draws = fitted["gaussian"].draw(y, 20_000, generator).numpy()
    for one, given in zip(draws, y.numpy(), strict=True):
        mean = sample.mean(0)[:2] - covariance @ precision[:2, 2:] @ (given - sample.mean(0)[2:])
        whitened = np.linalg.solve(np.linalg.cholesky(covariance), (one - mean).T)
        assert all(stats.kstest(row, "norm").pvalue > 0.001 for row in whitened)
        assert abs(np.corrcoef(whitened)[0, 1]) < 0.03


@pytest.mark.parametrize("name", ["gaussian", "mixture", "kernel"])
def test_the_density_given_y_integrates_to_one_and_draws_follow_it(
    fitted: dict[str, Density], name: str, generator: torch.Generator
) -> None:
    given = torch.tensor([[1.2]])
    first, second = torch.linspace(-25, 45, 141), torch.linspace(90, 110, 121)
    grid = torch.cartesian_prod(first, second)
    density = fitted[name].log_prob(grid, given.expand(len(grid), 1)).exp().view(141, 121).double().numpy()
    assert density.sum() * (70 / 140) * (20 / 120) == pytest.approx(1, abs=0.005)
    draws = fitted[name].draw(given, 3_000, generator)[0].numpy()
    for axis, places in enumerate((first.numpy(), second.numpy())):
        cumulated = integrate.cumulative_trapezoid(density.sum(1 - axis), places, initial=0)
        found = stats.kstest(draws[:, axis], lambda value, a=places, b=cumulated: np.interp(value, a, b / b[-1]))
        assert found.pvalue > 0.001, (name, axis)


def test_kernel_density_given_y_weights_the_pairs_by_the_kernel_in_y(fitted: dict[str, Density]) -> None:
    density = fitted["kernel"]
    assert isinstance(density, KernelDensity)
    assert density.kernel == "gaussian"
    known = torch.cat(list(moons(600)), 1).double().numpy()
    width = density.bandwidth * known.std(0) * [1, 1, density.ratio]
    x, y = moons(20, seed=2)
    new = torch.cat([x, y], 1).double().numpy()
    logs = stats.norm.logpdf(new[:, None], known, width)  # (new, known, columns)
    expected = logsumexp(logs.sum(2), axis=1) - logsumexp(logs[..., 2], axis=1)
    np.testing.assert_allclose(density.log_prob(x, y).numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", RADII)
def test_kernel_density_of_points_alone_is_that_of_sklearn(kernel: str, generator: torch.Generator) -> None:
    x = np.random.default_rng(0).standard_t(4, 300)[:, None] * 3
    density = KernelDensity(alone(x), kernels=[kernel])
    reference = Estimator(kernel=kernel, bandwidth=density.bandwidth * x.std()).fit(x)
    places = np.linspace(-60, 60, 5_001)
    logs = reference.score_samples(places[:, None])
    found = density.log_prob(torch.from_numpy(places[:, None]), torch.empty(5_001, 0)).numpy()
    np.testing.assert_allclose(found, logs, rtol=1e-9)
    cumulated = integrate.cumulative_trapezoid(np.exp(logs), places, initial=0)
    draws = density.draw(NOTHING, 5_000, generator).numpy().ravel()
    assert stats.kstest(draws, lambda value: np.interp(value, places, cumulated)).pvalue > 0.001


@pytest.mark.parametrize("kernel", RADII)
@pytest.mark.parametrize("dimensions", [2, 7])
def test_noise_of_a_kernel_is_as_far_from_the_centre_as_sklearns(kernel: str, dimensions: int) -> None:
    radii = RADII[kernel](np.random.default_rng(0), dimensions, (5_000,))
    places = np.linspace(0, 60, 60_001)
    points = np.zeros((len(places), dimensions))
    points[:, 0] = places
    one = Estimator(kernel=kernel, bandwidth=1.0).fit(np.zeros((1, dimensions)))
    cumulated = integrate.cumulative_trapezoid(
        places ** (dimensions - 1) * np.exp(one.score_samples(points)), places, initial=0
    )
    assert stats.kstest(radii, lambda value: np.interp(value, places, cumulated / cumulated[-1])).pvalue > 0.001


def test_the_bandwidth_follows_the_data_and_the_kernel_its_tails() -> None:
    rng = np.random.default_rng(0)
    far = alone(np.concatenate([rng.normal(-50, 1, 300), rng.normal(50, 1, 300)])[:, None])
    scott = 600 ** (-1 / 5)
    near = KernelDensity(far, kernels=["gaussian"])
    # the optimum for one normal mode of 300 points (Silverman 1986, equation 3.28), in units of the whole spread
    assert near.bandwidth == pytest.approx(1.06 * 300 ** (-1 / 5) / 50, rel=0.5)
    assert near.bandwidth < 0.1 * scott * 1.1
    box = alone(rng.permutation(np.linspace(0, 1, 600))[:, None])
    assert KernelDensity(box, kernels=["gaussian", "exponential"]).kernel == "gaussian"


@pytest.mark.parametrize("components", [2, 3, 5])
def test_bic_finds_the_number_of_components_and_nearly_the_density(components: int, generator: torch.Generator) -> None:
    truth = GaussianMixture(components, seed=1).density
    found = MixtureDensity(Batch(truth.sample(3_000, generator), torch.empty(3_000, 0)))
    assert found.components == components
    test = truth.sample(2_000, generator)
    gaps = truth.log_prob(test) - found.log_prob(test, torch.empty(2_000, 0))
    assert abs(float(gaps.mean())) < 0.02


@pytest.mark.parametrize(("most", "said"), [(2, True), (8, False)])
def test_a_search_that_ends_while_bic_falls_is_said(most: int, said: bool, caplog: pytest.LogCaptureFixture) -> None:
    x = GaussianMixture(3, seed=1).density.sample(300, torch.Generator().manual_seed(0))
    MixtureDensity(Batch(x, torch.empty(300, 0)), most=most)
    assert ("BIC was still falling at most=2 components" in caplog.text) == said


def test_a_mixture_given_y_is_a_mixture_of_its_conditionals(generator: torch.Generator) -> None:
    # y picks the component: x is at 3 for y near -5, at -3 for y near 5
    k = torch.randint(2, (4_000, 1), generator=generator).float()
    x = 3 - 6 * k + torch.randn(4_000, 1, generator=generator)
    density = MixtureDensity(Batch(x, 10 * k - 5 + torch.randn(4_000, 1, generator=generator)))
    draws = density.draw(torch.tensor([[-5.0], [5.0]]), 4_000, generator)[..., 0]
    assert density.components == 2
    torch.testing.assert_close(draws.mean(1), torch.tensor([3.0, -3.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(draws.std(1), torch.ones(2), atol=0.07, rtol=0)


@pytest.mark.parametrize("name", ["mixture", "kernel"])
def test_the_generator_alone_decides_draws(fitted: dict[str, Density], name: str) -> None:
    y = torch.zeros(3, 1)
    first, same, other = (fitted[name].draw(y, 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_shapes_of_any_number_of_axes(generator: torch.Generator) -> None:
    pairs = Batch(torch.randn(60, 2, 3, generator=generator), torch.randn(60, 1, 2, generator=generator))
    density = GaussianDensity(pairs)
    draws = density.draw(pairs.y[:4], 5, generator)
    assert draws.shape == (4, 5, 2, 3)
    assert draws.dtype == torch.float32
    assert density.log_prob(pairs.x[:4], pairs.y[:4]).shape == (4,)


@pytest.mark.parametrize("kind", [GaussianDensity, KernelDensity])
def test_a_column_that_never_changes_is_fitted(kind: type[Density], generator: torch.Generator) -> None:
    pairs = Batch(torch.randn(60, 2, generator=generator), torch.full((60, 1), 7.0))
    assert kind(pairs).draw(pairs.y[:1], 50, generator).isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianDensity(moons(9)), "fitted to 9 pairs; at least 10"),
        (lambda: GaussianDensity(Batch(torch.full((20, 1), float("nan")), torch.empty(20, 0))), "all finite"),
        (lambda: MixtureDensity(moons(20), most=0), "most is 0"),
        (lambda: KernelDensity(moons(20), ["tophat"]), r"kernels is \['tophat'\]; choose from gaussian\."),
        (lambda: KernelDensity(alone(np.ones((20, 1))), ["cosine"]), "choose from gaussian, tophat, epanechnikov"),
    ],
)
def test_bad_input_is_one_message(make: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()  # type: ignore[operator]
