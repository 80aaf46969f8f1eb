import math

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch.nn import functional

from cvae.losses import Objective, Weights, huber, l1, mse
from cvae.networks import Reconstruction

KINDS = {
    "l1": (l1, functional.l1_loss),
    "mse": (mse, functional.mse_loss),
    "huber": (lambda r: huber(r, 0.3), lambda a, b, **o: functional.huber_loss(a, b, delta=0.3, **o)),
}


@pytest.fixture
def residuals(generator):
    return torch.cat([torch.randn(200, generator=generator), torch.tensor([0.0, 0.3, -0.3])])


@pytest.mark.parametrize(("ours", "theirs"), KINDS.values(), ids=KINDS)
def test_penalties_and_their_gradients_are_those_of_torch(ours, theirs, residuals):
    a, b = residuals.clone().requires_grad_(), residuals.clone().requires_grad_()
    found, expected = ours(a), theirs(b, torch.zeros_like(b), reduction="none")
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("delta", [0.1, 1.0, 7.0])
def test_the_width_of_huber_is_its_delta(delta, residuals):
    expected = functional.huber_loss(residuals, torch.zeros_like(residuals), delta=delta, reduction="none")
    torch.testing.assert_close(huber(residuals, delta), expected)


@pytest.fixture
def batch(generator):
    x, y = torch.rand(4, 2, 5, generator=generator), torch.rand(4, 1, 5, generator=generator)
    kl = 2 * torch.rand(4, 3, generator=generator)
    found = torch.rand(4, 6, 2, 5, generator=generator)
    return Reconstruction(found, kl, None, torch.zeros(4, 3)), x, y


def product(x):
    return x.prod(-2, keepdim=True)


def numpy_terms(batch, penalty):
    """Terms by loops over samples and values."""
    reconstruction, x, y = batch
    x_terms, y_terms = np.zeros(4), np.zeros(4)
    for n in range(4):
        for s in range(6):
            found = reconstruction.x[n, s].double().numpy()
            x_terms[n] += penalty(found - x[n].double().numpy()).mean() / 6
            y_terms[n] += penalty(found[0] * found[1] - y[n, 0].double().numpy()).mean() / 6
    return x_terms, y_terms, reconstruction.kl.double().numpy().sum(1)


@pytest.mark.parametrize(("elementwise", "penalty"), [(mse, np.square), (l1, np.abs)], ids=["mse", "l1"])
def test_the_terms_are_means_over_values_and_the_total_their_weighted_sum(batch, elementwise, penalty):
    found = Objective(elementwise, beta=0.1, wx=2.0, wy=3.0)(*batch, product)
    x_term, y_term, kl = numpy_terms(batch, penalty)
    np.testing.assert_allclose(found.x_term.numpy(), x_term, rtol=1e-5)
    np.testing.assert_allclose(found.y_term.numpy(), y_term, rtol=1e-5)
    np.testing.assert_allclose(found.kl.numpy(), kl, rtol=1e-5)
    np.testing.assert_allclose(found.total.numpy(), 2 * x_term + 3 * y_term + 0.1 * kl, rtol=1e-5)


def test_residuals_of_y_are_measured_in_their_unit(batch):
    found = Objective(mse, beta=0.0, wx=1.0, wy=1.0, y_scale=0.05)(*batch, product)
    np.testing.assert_allclose(found.y_term.numpy(), numpy_terms(batch, np.square)[1] / 0.05**2, rtol=1e-5)


def test_the_gradient_of_the_y_term_flows_through_f(batch):
    reconstruction, x, y = batch
    found = reconstruction.x.clone().requires_grad_()
    Objective(mse, beta=0.0, wx=0.0, wy=1.0)(reconstruction._replace(x=found), x, y, product).total.sum().backward()
    a, b = reconstruction.x.unbind(2)
    slope = 2 * (a * b - y) / (5 * 6)
    torch.testing.assert_close(found.grad, torch.stack([slope * b, slope * a], dim=2))


def test_without_weight_f_is_not_called(batch):
    def fail(x):
        raise AssertionError("f was called")

    found = Objective(mse, beta=0.1, wx=1.0, wy=0.0)(*batch, fail)
    assert torch.equal(found.y_term, torch.zeros(4))
    torch.testing.assert_close(found.total, found.x_term + 0.1 * found.kl)


@pytest.mark.parametrize(("step", "beta"), [(0, 0.0), (5, 0.25), (10, 0.5), (99, 0.5)])
def test_beta_rises_from_zero(step, beta):
    assert Objective(mse, beta=0.5, wx=1.0, wy=1.0, warmup_steps=10).weights_at(step, 100).beta == pytest.approx(beta)


@pytest.mark.parametrize("step", [0, 50, 100])
def test_beta_is_constant_unless_told_otherwise(step):
    assert Objective(mse, beta=0.5, wx=1.0, wy=1.0).weights_at(step, 100).beta == 0.5


@pytest.mark.parametrize(("step", "beta"), [(0, 1.0), (40, 0.1), (20, 10**-0.5), (80, 0.01), (100, 0.01)])
def test_annealing_lowers_beta_geometrically_over_four_fifths_of_training(step, beta):
    assert Objective(mse, beta=0.01, wx=1.0, wy=1.0, anneal=100.0).weights_at(step, 100).beta == pytest.approx(beta)


@pytest.mark.parametrize(("step", "wy"), [(0, 0.0), (50, 0.0), (60, 1.0), (70, 2.0), (100, 2.0)])
def test_a_late_y_term_rises_over_a_fifth_of_training(step, wy):
    objective = Objective(mse, beta=0.5, wx=1.0, wy=2.0, y_from=0.5)
    assert objective.weights_at(step, 100).wy == pytest.approx(wy)
    assert Objective(mse, beta=0.5, wx=1.0, wy=2.0).weights_at(step, 100).wy == 2.0


def test_a_y_term_that_has_not_come_in_costs_nothing(batch):
    objective = Objective(mse, beta=0.5, wx=1.0, wy=2.0, y_from=0.5)
    early = objective(*batch, None, objective.weights_at(10, 100))
    torch.testing.assert_close(early.total, early.x_term + 0.5 * early.kl)
    late = objective(*batch, product, objective.weights_at(60, 100))
    torch.testing.assert_close(late.total, late.x_term + late.y_term + 0.5 * late.kl)


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_a_y_term_that_never_comes_is_refused(value):
    with pytest.raises(ValueError, match=r"loss\.y_from is .*; it must be at least 0 and below 1"):
        Objective(mse, beta=1.0, wx=1.0, wy=1.0, y_from=value)


@pytest.mark.parametrize("beta", [0.0, 0.25, None])
def test_the_kl_has_the_weight_that_is_asked_for_or_the_final_one(batch, beta):
    weights = None if beta is None else Weights(beta, 1.0)
    found = Objective(mse, beta=0.5, wx=1.0, wy=1.0)(*batch, product, weights)
    torch.testing.assert_close(found.total, found.x_term + found.y_term + (0.5 if beta is None else beta) * found.kl)


@pytest.mark.parametrize(
    "settings",
    [{"anneal": 0.0}, {"anneal": -1.0}, {"anneal": math.nan}, {"anneal": math.inf},
     {"anneal": 8.0, "warmup_steps": 5}],
)  # fmt: skip
def test_senseless_annealing_is_refused(settings):
    with pytest.raises(ValueError, match=r"loss\.anneal is"):
        Objective(mse, **{"beta": 1.0, "wx": 1.0, "wy": 1.0} | settings)


def enumerated(batch, generator):
    reconstruction, x, y = batch
    log_prior = torch.randn(4, 6, generator=generator, dtype=torch.float64).log_softmax(1)
    return reconstruction._replace(kl=None, log_prior=log_prior, x=reconstruction.x.double()), x.double(), y.double()


def test_an_enumerated_latent_takes_its_best_posterior(batch, generator):
    batch = enumerated(batch, generator)
    beta, wx, wy = 0.05, 2.0, 3.0
    found = Objective(mse, beta=beta, wx=wx, wy=wy)(*batch, product)
    for n in range(4):
        solutions = batch[0].x[n].numpy()
        x_cost = ((solutions - batch[1][n].numpy()) ** 2).mean((1, 2))
        y_cost = ((solutions[:, 0] * solutions[:, 1] - batch[2][n, 0].numpy()) ** 2).mean(1)
        prior = batch[0].log_prior[n].exp().numpy()
        weight = prior * np.exp(-(wx * x_cost + wy * y_cost) / beta)
        q = weight / weight.sum()
        kl = np.sum(q * np.log(q / prior))
        assert found.x_term[n].item() == pytest.approx(q @ x_cost)
        assert found.y_term[n].item() == pytest.approx(q @ y_cost)
        assert found.kl[n].item() == pytest.approx(kl)
        assert found.total[n].item() == pytest.approx(wx * (q @ x_cost) + wy * (q @ y_cost) + beta * kl)


def test_an_enumerated_latent_without_kl_takes_the_nearest_solution(batch, generator):
    batch = enumerated(batch, generator)
    found = Objective(mse, beta=0.5, wx=1.0, wy=0.0)(*batch, product, Weights(0.0, 0.0))
    nearest = [((batch[0].x[n] - batch[1][n]) ** 2).mean((1, 2)).min().item() for n in range(4)]
    np.testing.assert_allclose(found.total.numpy(), nearest, rtol=1e-5)


@pytest.mark.parametrize("name", ["beta", "wx", "wy", "warmup_steps"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_senseless_weights_are_refused(name, value):
    settings = {"beta": 1.0, "wx": 1.0, "wy": 1.0, name: value}
    with pytest.raises(ValueError, match=f"loss.{name} is {value}; it must be a number of at least 0"):
        Objective(mse, **settings)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_unit_that_is_not_positive_is_refused(value):
    with pytest.raises(ValueError, match=f"loss.y_scale is {value}; it must be positive"):
        Objective(mse, beta=1.0, wx=1.0, wy=1.0, y_scale=value)


def test_an_objective_that_reconstructs_nothing_is_refused():
    with pytest.raises(ValueError, match=r"loss\.wx and loss\.wy are both 0"):
        Objective(mse, beta=1.0, wx=0.0, wy=0.0)


@pytest.mark.parametrize(("name", "penalty"), [("mse", 4.0), ("l1", 2.0), ("huber", 1.5)])
def test_the_shipped_losses_are_what_they_are_called(shipped, name, penalty):
    objective = instantiate(shipped(f"loss={name}").loss)
    assert objective.elementwise(torch.tensor(-2.0)).item() == penalty
    assert objective.y_scale == 0.05


def test_a_saturating_y_term_pulls_near_misses_and_leaves_far_ones_alone():
    y = torch.zeros(2, 1, 50)
    x = torch.stack([torch.full((1, 2, 50), 0.1), torch.full((1, 2, 50), 100.0)]).requires_grad_()
    made = Reconstruction(x, torch.zeros(2, 1), None, torch.zeros(2, 1))
    objective = Objective(mse, beta=0.0, wx=0.0, wy=1.0, y_saturation=4.0)
    terms = objective(made, torch.zeros(2, 2, 50), y, lambda lines: lines[..., :1, :])
    size = torch.tensor([0.1**2, 100.0**2])
    torch.testing.assert_close(terms.y_term, size / (1 + size / 4))
    (gradient,) = torch.autograd.grad(terms.total.sum(), x)
    near, far = gradient.abs().amax((1, 2, 3))
    assert near > 1000 * far


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_saturation_that_is_not_positive_is_refused(value):
    with pytest.raises(ValueError, match=rf"loss\.y_saturation is {value}; it must be positive"):
        Objective(mse, beta=1.0, wx=1.0, wy=1.0, y_saturation=value)
