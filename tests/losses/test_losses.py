"""Likelihoods, schedules and the objective."""

import math

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch import distributions
from torch.nn import functional
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from cvae.losses import (
    BetaSchedule,
    Objective,
    Progress,
    YTerm,
    absolute,
    bernoulli,
    constant,
    cosine,
    gaussian,
    huber,
    linear_warmup,
    one_cycle,
    squared,
)
from cvae.networks import EnumeratedLatent, Gaussian, GaussianLatent, Reconstruction, ValuesHead, dense
from cvae.runs.settle import settle

# --- likelihoods

KINDS = {
    "absolute": (absolute(), functional.l1_loss),
    "squared": (squared(), functional.mse_loss),
    "huber": (huber(0.3), lambda a, b, **o: functional.huber_loss(a, b, delta=0.3, **o)),
}


@pytest.fixture
def residuals(generator):
    return torch.cat([torch.randn(200, generator=generator), torch.tensor([0.0, 0.3, -0.3])])


@pytest.mark.parametrize(("ours", "theirs"), KINDS.values(), ids=KINDS)
def test_costs_and_their_gradients_are_those_of_torch(ours, theirs, residuals, generator):
    target = torch.randn(len(residuals), generator=generator)
    # exactly representable sums, so that residuals at the edge stay there
    target = (64 * target).round() / 64
    a, b = (target + residuals).requires_grad_(), (target + residuals).requires_grad_()
    found, expected = ours(a, target), theirs(b, target, reduction="none")
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


def test_the_gaussian_cost_is_that_of_torch_in_nats(residuals):
    expected = -distributions.Normal(0.0, 1.0).log_prob(residuals)
    torch.testing.assert_close(gaussian()(residuals, torch.zeros_like(residuals)), expected)


@pytest.mark.parametrize("delta", [0.1, 1.0, 7.0])
def test_the_width_of_huber_is_its_delta(delta, residuals):
    zero = torch.zeros_like(residuals)
    expected = functional.huber_loss(residuals, zero, delta=delta, reduction="none")
    torch.testing.assert_close(huber(delta)(residuals, zero), expected)


@pytest.mark.parametrize("delta", [0.0, -1.0, math.nan])
def test_a_width_of_huber_that_is_not_positive_is_refused(delta):
    with pytest.raises(ValueError, match=r"loss\.likelihood\.delta is .*; it must be positive"):
        huber(delta)


@pytest.mark.parametrize(
    ("likelihood", "law"),
    [
        # a unit Laplace, and a Gaussian of variance 1/2
        (absolute(), lambda prediction: distributions.Laplace(prediction, 1.0)),
        (squared(), lambda prediction: distributions.Normal(prediction, 0.5**0.5)),
        (huber(100.0), lambda prediction: distributions.Normal(prediction, 1.0)),
    ],
    ids=["absolute", "squared", "huber"],
)
def test_costs_are_negative_log_likelihoods_up_to_a_constant(likelihood, law, generator):
    prediction, target = torch.randn(2, 300, generator=generator, dtype=torch.float64)
    constants = likelihood(prediction, target) + law(prediction).log_prob(target)
    torch.testing.assert_close(constants, constants[:1].expand(300))


def test_the_bernoulli_cost_is_that_of_torch_in_nats(generator):
    probability = torch.rand(300, generator=generator, dtype=torch.float64)
    target = torch.rand(300, generator=generator, dtype=torch.float64).round()
    found = bernoulli()(probability, target)
    torch.testing.assert_close(found, -distributions.Bernoulli(probability).log_prob(target))
    torch.testing.assert_close(found, functional.binary_cross_entropy(probability, target, reduction="none"))


def test_the_bernoulli_cost_takes_grey_values_and_is_least_at_the_target(generator):
    target = 0.8 * torch.rand(50, generator=generator, dtype=torch.float64) + 0.1
    grid = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    cost = bernoulli()(grid[:, None].expand(-1, 50), target[None])
    torch.testing.assert_close(grid[cost.argmin(0)], target, atol=0.006, rtol=0)


def test_probabilities_that_rounding_made_certain_cost_no_infinity():
    cost = bernoulli()(torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    assert cost.isfinite().all()
    assert cost[2] > 10 > 0.01 > cost[0]


# --- schedules


@pytest.mark.parametrize(
    ("step", "steps", "factor"),
    [(0, 10, 0.0), (1, 10, 0.1), (5, 10, 0.5), (10, 10, 1.0), (11, 10, 1.0), (0, 0, 1.0), (5, 0, 1.0), (0, 1, 0.0)],
)
def test_linear_warmup(step, steps, factor):
    assert linear_warmup(step, steps) == pytest.approx(factor)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_constant(progress):
    assert constant()(progress) == 1


@pytest.mark.parametrize(
    ("progress", "warmup", "floor", "factor"),
    [
        (0.0, 0.0, 0.0, 1.0),
        (0.5, 0.0, 0.0, 0.5),
        (1 / 3, 0.0, 0.0, 0.75),
        (1.0, 0.0, 0.0, 0.0),
        (1.5, 0.0, 0.0, 0.0),
        (0.5, 0.0, 0.2, 0.6),
        (1.0, 0.0, 0.2, 0.2),
        (0.1, 0.2, 0.0, 0.5),
        (0.2, 0.2, 0.0, 1.0),
        (0.6, 0.2, 0.0, 0.5),
        (1.0, 0.2, 0.0, 0.0),
        (0.5, 0.0, 1.0, 1.0),
    ],
)
def test_cosine(progress, warmup, floor, factor):
    assert cosine(warmup, floor)(progress) == pytest.approx(factor, abs=1e-12)


def test_the_first_step_of_a_warmup_is_small_and_not_zero():
    assert 0 < cosine(warmup=0.1)(0.0) <= 0.01


@pytest.mark.parametrize(
    ("progress", "factor"),
    [(0.0, 0.04), (0.15, 0.52), (0.3, 1.0), (0.65, 0.50005), (1.0, 1e-4), (1.5, 1e-4)],
)
def test_one_cycle(progress, factor):
    assert one_cycle()(progress) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (cosine, {"warmup": 1.0}, "scheduler.warmup is 1.0; it is a share of training, at least 0 and below 1"),
        (cosine, {"warmup": -0.1}, "scheduler.warmup is -0.1"),
        (cosine, {"warmup": math.nan}, "scheduler.warmup is nan"),
        (cosine, {"floor": 1.5}, "scheduler.floor is 1.5; it is a share of the learning rate, from 0 to 1"),
        (one_cycle, {"peak": 0.0}, "scheduler.peak is 0.0; it is a share of training, above 0 and below 1"),
        (one_cycle, {"peak": 1.0}, "scheduler.peak is 1.0"),
        (one_cycle, {"start": -1.0}, "scheduler.start is -1.0; it is a share of the learning rate"),
        (one_cycle, {"end": 2.0}, "scheduler.end is 2.0"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def rates(make, steps):
    """Learning rates of a scheduler of torch, starting from 1."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_is_that_of_torch():
    expected = rates(lambda optimizer: CosineAnnealingLR(optimizer, 100, eta_min=0.1), 101)
    assert [cosine(floor=0.1)(step / 100) for step in range(101)] == pytest.approx(expected, abs=1e-9)


def test_one_cycle_is_that_of_torch():
    # torch counts from step 0 to step 999, and peaks one step before the share that it is given
    expected = rates(
        lambda optimizer: OneCycleLR(optimizer, 1.0, 1_000, pct_start=0.3, div_factor=25, final_div_factor=400), 999
    )
    found = [one_cycle(peak=299 / 999)(step / 999) for step in range(999)]
    assert found == pytest.approx(expected, abs=1e-9)
    assert math.isclose(max(found), 1.0)


# --- the objective


@pytest.fixture
def batch(generator):
    x, y = torch.rand(4, 2, 5, generator=generator), torch.rand(4, 1, 5, generator=generator)
    latent = GaussianLatent(
        Gaussian(*torch.randn(2, 4, 3, generator=generator)), Gaussian(*torch.randn(2, 4, 3, generator=generator))
    )
    found = torch.rand(4, 6, 2, 5, generator=generator)
    return Reconstruction(found, latent, torch.zeros(4, 3)), x, y


def product(x):
    return x.prod(-2, keepdim=True)


def measured(objective, batch, forward=product, step=None):
    """The terms, with no unit of x."""
    progress = None if step is None else Progress(step, 100)
    return objective(*batch, forward=forward, progress=progress)


def numpy_terms(batch, penalty, reduce=np.mean):
    """Terms by loops over samples and values."""
    reconstruction, x, y = batch
    x_terms, y_terms = np.zeros(4), np.zeros(4)
    for n in range(4):
        for s in range(6):
            found = reconstruction.x[n, s].double().numpy()
            x_terms[n] += reduce(penalty(found - x[n].double().numpy())) / 6
            y_terms[n] += reduce(penalty(found[0] * found[1] - y[n, 0].double().numpy())) / 6
    posterior, prior = reconstruction.latent
    laws = [distributions.Normal(part.mean.double(), (part.log_var.double() / 2).exp()) for part in (posterior, prior)]
    return x_terms, y_terms, distributions.kl_divergence(*laws).sum(1).numpy()


@pytest.mark.parametrize(
    ("likelihood", "penalty"), [(squared(), np.square), (absolute(), np.abs)], ids=["squared", "absolute"]
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_terms_are_reduced_over_values_and_the_total_is_their_weighted_sum(batch, likelihood, penalty, reduction):
    objective = Objective(likelihood, beta=0.1, wx=2.0, wy=3.0, reduction=reduction)
    found = measured(objective, batch)
    x_term, y_term, kl = numpy_terms(batch, penalty, {"mean": np.mean, "sum": np.sum}[reduction])
    assert set(found) == {"loss", "x_term", "y_term", "kl"}
    np.testing.assert_allclose(found["x_term"].numpy(), x_term, rtol=1e-5)
    np.testing.assert_allclose(found["y_term"].numpy(), y_term, rtol=1e-5)
    np.testing.assert_allclose(found["kl"].numpy(), kl, rtol=1e-5)
    np.testing.assert_allclose(found["loss"].numpy(), 2 * x_term + 3 * y_term + 0.1 * kl, rtol=1e-5)


def test_a_learned_noise_is_the_spread_of_the_likelihood(batch):
    reconstruction, x, _ = batch
    noise = torch.tensor([[0.3], [2.0]])
    found = Objective(gaussian(), beta=0.0, wx=1.0, wy=0.0, reduction="sum").x_cost(
        reconstruction._replace(log_noise=noise.log()), x, torch.tensor([5.0])
    )
    expected = -distributions.Normal(reconstruction.x, noise).log_prob(x.unsqueeze(1)).sum((2, 3))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("scale", [torch.tensor([3.0]), torch.tensor([[2.0], [0.1]])])
def test_residuals_of_x_are_measured_in_their_unit(batch, scale):
    reconstruction, x, y = batch
    found = Objective(squared(), beta=0.0, wx=1.0, wy=1.0)(reconstruction, x, y, scale, product)
    unit = Reconstruction(reconstruction.x / scale, *reconstruction[1:])
    np.testing.assert_allclose(found["x_term"].numpy(), numpy_terms((unit, x / scale, y), np.square)[0], rtol=1e-5)
    # f sees solutions as they are
    np.testing.assert_allclose(found["y_term"].numpy(), numpy_terms(batch, np.square)[1], rtol=1e-5)


def test_residuals_of_y_are_measured_in_their_unit(batch):
    found = measured(Objective(squared(), beta=0.0, wx=1.0, wy=1.0, y_term=YTerm(scale=0.05)), batch)
    np.testing.assert_allclose(found["y_term"].numpy(), numpy_terms(batch, np.square)[1] / 0.05**2, rtol=1e-5)


def test_the_gradient_of_the_y_term_flows_through_f(batch):
    reconstruction, x, y = batch
    found = reconstruction.x.clone().requires_grad_()
    objective = Objective(squared(), beta=0.0, wx=0.0, wy=1.0)
    measured(objective, (reconstruction._replace(x=found), x, y))["loss"].sum().backward()
    a, b = reconstruction.x.unbind(2)
    slope = 2 * (a * b - y) / (5 * 6)
    torch.testing.assert_close(found.grad, torch.stack([slope * b, slope * a], dim=2))


def test_without_weight_f_is_not_called(batch):
    def fail(x):
        raise AssertionError("f was called")

    found = measured(Objective(squared(), beta=0.1, wx=1.0, wy=0.0), batch, fail)
    assert torch.equal(found["y_term"], torch.zeros(4))
    torch.testing.assert_close(found["loss"], found["x_term"] + 0.1 * found["kl"])


def test_a_task_without_f_has_no_y_term(batch):
    found = measured(Objective(squared(), beta=0.1, wx=1.0, wy=3.0), batch, None)
    assert set(found) == {"loss", "x_term", "kl"}
    torch.testing.assert_close(found["loss"], found["x_term"] + 0.1 * found["kl"])


# --- weights over the training


def beta_at(objective, batch, step):
    """The weight that the KL has at a step."""
    terms = measured(objective, batch, None, step)
    return ((terms["loss"] - terms["x_term"]) / terms["kl"]).mean().item()


@pytest.mark.parametrize(("step", "beta"), [(0, 0.0), (5, 0.25), (10, 0.5), (99, 0.5), (None, 0.5)])
def test_beta_rises_from_zero(batch, step, beta):
    objective = Objective(squared(), beta=0.5, wx=1.0, wy=1.0, beta_schedule=BetaSchedule(warmup_steps=10))
    assert beta_at(objective, batch, step) == pytest.approx(beta, abs=1e-6)


@pytest.mark.parametrize("step", [0, 50, 100, None])
def test_beta_is_constant_unless_told_otherwise(batch, step):
    assert beta_at(Objective(squared(), beta=0.5, wx=1.0, wy=1.0), batch, step) == pytest.approx(0.5)


@pytest.mark.parametrize(("step", "beta"), [(0, 1.0), (40, 0.1), (20, 10**-0.5), (80, 0.01), (100, 0.01), (None, 0.01)])
def test_annealing_lowers_beta_geometrically_over_four_fifths_of_training(batch, step, beta):
    objective = Objective(squared(), beta=0.01, wx=1.0, wy=1.0, beta_schedule=BetaSchedule(anneal=100.0))
    assert beta_at(objective, batch, step) == pytest.approx(beta, rel=1e-3)


@pytest.mark.parametrize(("step", "wy"), [(0, 0.0), (50, 0.0), (60, 1.0), (70, 2.0), (100, 2.0), (None, 2.0)])
def test_a_late_y_term_rises_over_a_fifth_of_training(batch, step, wy):
    objective = Objective(squared(), beta=0.5, wx=1.0, wy=2.0, y_term=YTerm(start=0.5))
    terms = measured(objective, batch, step=step)
    y_term = numpy_terms(batch, np.square)[1]
    rest = (terms["loss"] - terms["x_term"] - 0.5 * terms["kl"]).numpy()
    np.testing.assert_allclose(rest, wy * y_term, rtol=1e-4, atol=1e-5)


def test_a_y_term_that_has_not_come_in_costs_nothing(batch):
    def fail(x):
        raise AssertionError("f was called")

    objective = Objective(squared(), beta=0.5, wx=1.0, wy=2.0, y_term=YTerm(start=0.5))
    early = measured(objective, batch, fail, step=10)
    torch.testing.assert_close(early["loss"], early["x_term"] + 0.5 * early["kl"])


def test_a_saturating_y_term_pulls_near_misses_and_leaves_far_ones_alone():
    y = torch.zeros(2, 1, 50)
    x = torch.stack([torch.full((1, 2, 50), 0.1), torch.full((1, 2, 50), 100.0)]).requires_grad_()
    same = Gaussian(torch.zeros(2, 1), torch.zeros(2, 1))
    made = Reconstruction(x, GaussianLatent(same, same), torch.zeros(2, 1))
    objective = Objective(squared(), beta=0.0, wx=0.0, wy=1.0, y_term=YTerm(saturation=4.0))
    terms = objective(made, torch.zeros(2, 2, 50), y, forward=lambda lines: lines[..., :1, :])
    size = torch.tensor([0.1**2, 100.0**2])
    torch.testing.assert_close(terms["y_term"], size / (1 + size / 4))
    (gradient,) = torch.autograd.grad(terms["loss"].sum(), x)
    near, far = gradient.abs().amax((1, 2, 3))
    assert near > 1000 * far


# --- an enumerated latent


def enumerated(batch, generator):
    reconstruction, x, y = batch
    log_prior = torch.randn(4, 6, generator=generator, dtype=torch.float64).log_softmax(1)
    latent = EnumeratedLatent(log_prior)
    return Reconstruction(reconstruction.x.double(), latent, reconstruction.code), x.double(), y.double()


def test_an_enumerated_latent_takes_its_best_posterior(batch, generator):
    batch = enumerated(batch, generator)
    beta, wx, wy = 0.05, 2.0, 3.0
    found = measured(Objective(squared(), beta=beta, wx=wx, wy=wy), batch)
    for n in range(4):
        solutions = batch[0].x[n].numpy()
        x_cost = ((solutions - batch[1][n].numpy()) ** 2).mean((1, 2))
        y_cost = ((solutions[:, 0] * solutions[:, 1] - batch[2][n, 0].numpy()) ** 2).mean(1)
        prior = batch[0].latent.log_prior[n].exp().numpy()
        weight = prior * np.exp(-(wx * x_cost + wy * y_cost) / beta)
        q = weight / weight.sum()
        kl = np.sum(q * np.log(q / prior))
        assert found["x_term"][n].item() == pytest.approx(q @ x_cost)
        assert found["y_term"][n].item() == pytest.approx(q @ y_cost)
        assert found["kl"][n].item() == pytest.approx(kl)
        assert found["loss"][n].item() == pytest.approx(wx * (q @ x_cost) + wy * (q @ y_cost) + beta * kl)


def test_an_enumerated_latent_without_kl_takes_the_nearest_solution(batch, generator):
    batch = enumerated(batch, generator)
    schedule = BetaSchedule(warmup_steps=10)
    found = measured(Objective(squared(), beta=0.5, wx=1.0, wy=0.0, beta_schedule=schedule), batch, step=0)
    nearest = [((batch[0].x[n] - batch[1][n]) ** 2).mean((1, 2)).min().item() for n in range(4)]
    np.testing.assert_allclose(found["loss"].numpy(), nearest, rtol=1e-5)


# --- the evidence lower bound


def test_a_gaussian_cvae_without_f_has_the_negative_elbo_in_nats(generator):
    class Probabilities(ValuesHead):
        def forward(self, raw):
            return super().forward(raw).sigmoid()

    network = dense([1, 3, 3], [4], latent_dim=2, hidden=[8], encoder_sees_y=True, head=Probabilities([1, 3, 3]))
    x = torch.rand(5, 1, 3, 3, generator=generator).round()
    y = torch.nn.functional.one_hot(torch.arange(5) % 4, 4).float()
    torch.manual_seed(3)
    reconstruction = network.reconstruct(x, y)
    loss = Objective(bernoulli(), beta=1.0, wx=1.0, wy=0.0, reduction="sum")(reconstruction, x, y)["loss"]
    # the same noise, and everything else by torch.distributions
    torch.manual_seed(3)
    features = y.asinh()
    found = network.encoder(x, features)
    posterior = distributions.Normal(found.mean, (found.log_var / 2).exp())
    z = found.mean + posterior.stddev * torch.randn(5, 1, 2)[:, 0]
    probability = network.decoder(z.unsqueeze(1), features)[:, 0]
    log_likelihood = distributions.Bernoulli(probability).log_prob(x).sum((1, 2, 3))
    kl = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(loss, kl - log_likelihood)
    assert (loss > 0).all()


# --- mistakes


@pytest.mark.parametrize(
    "settings",
    [{"anneal": 0.0}, {"anneal": -1.0}, {"anneal": math.nan}, {"anneal": math.inf}, {"anneal": 8.0, "warmup_steps": 5}],
)
def test_senseless_annealing_is_refused(settings):
    with pytest.raises(ValueError, match=r"loss\.beta_schedule.* anneal|loss\.beta_schedule\.anneal is"):
        BetaSchedule(**settings)


def test_a_warmup_of_negative_steps_is_refused():
    with pytest.raises(ValueError, match=r"loss\.beta_schedule\.warmup_steps is -1; it must be at least 0"):
        BetaSchedule(warmup_steps=-1)


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_a_y_term_that_never_comes_is_refused(value):
    with pytest.raises(ValueError, match=r"loss\.y_term\.start is .*; it must be at least 0 and below 1"):
        YTerm(start=value)


@pytest.mark.parametrize("name", ["scale", "saturation"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_unit_or_saturation_that_is_not_positive_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"loss\.y_term\.{name} is {value}; it must be positive"):
        YTerm(**{name: value})


@pytest.mark.parametrize("name", ["beta", "wx", "wy"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_senseless_weights_are_refused(name, value):
    settings = {"beta": 1.0, "wx": 1.0, "wy": 1.0, name: value}
    with pytest.raises(ValueError, match=f"loss.{name} is {value}; it must be a number of at least 0"):
        Objective(squared(), **settings)


def test_an_objective_that_reconstructs_nothing_is_refused():
    with pytest.raises(ValueError, match=r"loss\.wx and loss\.wy are both 0"):
        Objective(squared(), beta=1.0, wx=0.0, wy=0.0)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match=r"loss\.reduction is 'median'; it must be mean or sum"):
        Objective(squared(), beta=1.0, wx=1.0, wy=1.0, reduction="median")


@pytest.mark.parametrize(("name", "cost"), [("mse", 4.0), ("l1", 2.0), ("huber", 1.5)])
def test_the_shipped_losses_are_what_they_are_called(shipped, name, cost):
    objective = instantiate(settle(shipped(f"loss={name}", "recipe.separate=false", "recipe.y_term=true")).loss)
    assert objective.likelihood(torch.tensor(-2.0), torch.tensor(0.0)).item() == cost
    assert objective.y_term.scale == 0.05
