"""What every generative model has from its base: logged terms, measured draws, training and checkpoints."""

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from cvae.data import Simulation, Vectors
from cvae.errors import DivergedError
from cvae.models import Evaluation, Generative, Training
from cvae.models.checkpoints import FORMAT, KEY

VECTORS = {"bounds": [[0, 1], [0, 1]], "forward": ["x0 * x1"], "gates": {"rmse": 0.05}}


class Regressor(Generative):
    """A Gaussian around a linear function of y: the least that a generative model needs."""

    terms = ("loss", "distance")

    def __init__(self, task, **parts):
        super().__init__(nn.Linear(1, 2), None, task, **parts)
        self.log_std = nn.Parameter(torch.zeros(2))

    def loss(self, batch, progress=None):
        residual = (batch.x - self.network(batch.y)) / self.log_std.exp()
        distance = (batch.x - self.network(batch.y)).square().sum(1)
        return {"loss": (0.5 * residual.square() + self.log_std).sum(1), "distance": distance}

    @torch.no_grad()
    def draw(self, y, draws, generator):
        noise = torch.randn(len(y), draws, 2, generator=generator)
        return self.network(y).unsqueeze(1) + self.log_std.exp() * noise


class Reordered(Regressor):
    """The same loss with its terms in another order."""

    def loss(self, batch, progress=None):
        return dict(reversed(super().loss(batch, progress).items()))


@pytest.fixture
def vectors():
    counts = {"validation": 30, "test": 4, "references": 2}
    return Vectors(Simulation(200, 40, 10), batch_size=48, evaluation=counts, **VECTORS)


def make(vectors, kind=Regressor, **parts):
    torch.manual_seed(0)
    training = Training(lambda parameters: torch.optim.Adam(parameters, lr=0.05))
    settings = {"evaluation": Evaluation(draws=20), "training": training, "config": {"note": "a test"}}
    return kind(vectors.task, **settings | parts)


def measures(run):
    return {name: float(value) for name, value in run.callback_metrics.items()}


def test_a_model_that_gives_loss_and_draw_alone_is_trained_measured_and_kept(vectors, trainer, tmp_path):
    model = make(vectors)
    before = model.loss(vectors.splits.validation)["loss"].mean().item()
    run = trainer(max_epochs=15)
    run.fit(model, datamodule=vectors)
    found = measures(run)
    assert found["val/loss"] < before - 0.5
    assert Regressor.measured() == {"train/loss", "train/distance", "val/loss", "val/distance", "train/lr"}
    names = ("score", "coverage", "envelope", "valid", "rmse", "relative_rmse", "coverage_ratio", "reference_distance")
    expected = {f"val/{name}" for name in names}
    assert Regressor.measured() | expected <= set(found)
    assert 0 < found["val/valid"] < 1
    run.test(model, datamodule=vectors, verbose=False)
    assert {"test/loss", "test/distance", "test/valid"} <= set(measures(run))
    content = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert content[KEY] == {"format": FORMAT, "config": {"note": "a test"}}
    fresh = make(vectors)
    fresh.load_state_dict(content["state_dict"])
    y = vectors.splits.test.y
    x = [each.draw(y, 6, torch.Generator().manual_seed(2)) for each in (model, fresh)]
    assert x[0].shape == (10, 6, 2)
    assert torch.equal(x[0], x[1])


def test_terms_are_logged_by_their_names_whatever_their_order(vectors, trainer):
    found = []
    for kind in (Regressor, Reordered):
        run = trainer(max_epochs=2)
        run.fit(make(vectors, kind), datamodule=vectors)
        found.append(measures(run))
    assert found[0] == found[1]
    assert found[0]["val/loss"] != found[0]["val/distance"]


def test_a_training_step_changes_the_weights_and_an_evaluation_does_not(vectors, trainer):
    model = make(vectors)
    start = {name: value.clone() for name, value in model.named_parameters()}
    trainer(max_steps=1).fit(model, datamodule=vectors)
    trained = {name: value.clone() for name, value in model.named_parameters()}
    assert not any(torch.equal(trained[name], start[name]) for name in start)
    trainer().validate(model, datamodule=vectors, verbose=False)
    trainer().test(model, datamodule=vectors, verbose=False)
    assert all(torch.equal(value, trained[name]) for name, value in model.named_parameters())


def test_a_schedule_sets_the_learning_rate_by_the_share_of_training(vectors, trainer):
    training = Training(lambda parameters: torch.optim.SGD(parameters, lr=1e-3), lambda share: 1 - share / 2)
    rates = []
    model = make(vectors, training=training)
    model.on_train_batch_start = lambda *_: rates.append(model.trainer.optimizers[0].param_groups[0]["lr"])
    trainer(max_epochs=2).fit(model, datamodule=vectors)
    # two epochs of five steps
    assert rates == pytest.approx([1e-3 * (1 - step / 20) for step in range(10)])


def test_a_model_without_an_optimizer_cannot_be_trained(vectors, trainer):
    with pytest.raises(ValueError, match="built for use, not for training: it has no optimizer"):
        trainer().fit(Regressor(vectors.task), datamodule=vectors)


# --- measured draws


class Late(Regressor):
    """A loss that is nan in one step, after which the weights are nan."""

    def loss(self, batch, progress=None):
        broken = float("nan") if progress is not None and progress.step == 7 else 1.0
        return {name: broken * value for name, value in super().loss(batch, progress).items()}


class Broken(Callback):
    """Makes a weight infinite after the last step of the first epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.is_last_batch:
            pl_module.log_std.data[1] = float("inf")


@pytest.mark.parametrize(
    ("kind", "lr", "callbacks", "told"),
    [
        # 200 pairs in batches of 48 are five steps
        (Late, 0.05, [], "not finite in step 3 of epoch 2: loss, distance. Lower optimizer.lr (now 0.05) by factors"),
        (Regressor, 0.01, [Broken()], "not finite in step 5 of epoch 1: log_std. Lower optimizer.lr"),
    ],
)
def test_a_training_that_diverges_ends_before_anything_of_it_is_kept(
    vectors, trainer, tmp_path, kind, lr, callbacks, told
):
    training = Training(lambda parameters: torch.optim.Adam(parameters, lr=lr))
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    with pytest.raises(DivergedError) as caught:
        trainer(max_epochs=9, callbacks=[*callbacks, keep]).fit(make(vectors, kind, training=training), vectors)
    assert told in str(caught.value)
    assert [path.name for path in tmp_path.glob("*.ckpt")] == (["epoch=0.ckpt"] if kind is Late else [])


def test_a_loss_of_no_number_before_the_first_update_is_no_matter_of_the_rate(vectors, trainer):
    vectors.splits.train.x[:] = 1e30
    with pytest.raises(DivergedError, match=r"in step 1 of epoch 1: .*No weight had been changed by then: lower"):
        trainer().fit(make(vectors), vectors)


def test_in_a_long_epoch_the_training_ends_soon_and_names_the_very_step(vectors, trainer):
    model, run = make(vectors, Late), trainer(max_epochs=1)
    vectors.batch_size = 1
    with pytest.raises(DivergedError, match=r"in step 8 of epoch 1: "):
        run.fit(model, vectors)
    assert run.global_step < 50


class Process:
    """What the base reads of a trainer, for one of several processes."""

    def __init__(self, rank, world):
        self.global_rank, self.world_size = rank, world


def collect(model, y, key=0, world=1):
    """Everything drawn by all processes, in the order of the conditions."""
    pieces = []
    for rank in range(world):
        model.trainer = Process(rank, world)
        pieces += model.evaluate(y, key)
    which = torch.cat([piece.which for piece in pieces])
    order = which.argsort()
    assert which[order].tolist() == list(range(len(y)))
    return torch.cat([piece.x for piece in pieces])[order], torch.cat([piece.check.misfit for piece in pieces])[order]


@pytest.fixture
def faked(vectors, monkeypatch):
    """A model that takes anything for its trainer, 103 conditions, and draws in portions of at most 25."""
    monkeypatch.setattr(Generative, "trainer", None)
    monkeypatch.setattr(Generative, "global_rank", property(lambda self: self.trainer.global_rank))
    y = torch.rand(103, 1, generator=torch.Generator().manual_seed(1))
    return make(vectors), y


@pytest.mark.parametrize("world", [2, 3, 9])
def test_draws_do_not_depend_on_the_number_of_processes(faked, world):
    model, y = faked
    x, misfit = collect(model, y)
    again, misfit_again = collect(model, y, world=world)
    assert torch.equal(again, x)
    assert torch.equal(misfit_again, misfit)


@pytest.mark.parametrize("point_set", ["sobol", "random"])
def test_draws_of_any_point_set_do_not_depend_on_the_number_of_processes(faked, data, make, config, point_set):
    config["evaluation"]["point_set"] = point_set
    model, y = make(config), data.splits.train.y
    x, misfit = collect(model, y)
    again, misfit_again = collect(model, y, world=2)
    assert x.shape == (40, 5, 2, 12)
    assert torch.equal(again, x)
    torch.testing.assert_close(misfit_again, misfit)


def test_each_portion_has_draws_of_its_own(faked):
    model, y = faked
    x, _ = collect(model, y[:1].expand(60, 1))
    assert len(x.flatten(1).unique(dim=0)) == 60


def test_seed_and_key_fix_the_draws(faked, vectors):
    model, y = faked
    x, _ = collect(model, y)
    torch.manual_seed(99)
    assert torch.equal(collect(model, y)[0], x)
    assert not torch.equal(collect(model, y, key=1)[0], x)
    assert not torch.equal(collect(make(vectors, seed=1), y)[0], x)


def test_draws_are_checked_against_their_own_condition(faked, vectors):
    model, y = faked
    x, misfit = collect(model, y, world=2)
    torch.testing.assert_close(misfit, vectors.task.check(x, y).misfit)


def test_no_more_is_drawn_at_once_than_allowed(faked, monkeypatch):
    model, y = faked
    model.trainer = Process(0, 1)
    for most, sizes in ((100, {5, 3}), (7, {1})):
        monkeypatch.setattr("cvae.models.generative.DRAWS", most)
        assert {len(piece.which) for piece in model.evaluate(y, 0)} == sizes


def test_evaluation_measures_the_same_draws_every_time(trainer, data, trained):
    model, _ = trained
    found = []
    for seed in (0, 1):
        run = trainer()
        torch.manual_seed(seed)
        run.validate(model, datamodule=data, verbose=False)
        names = ("score", "coverage", "envelope", "valid", "rmse", "relative_rmse", "pearson")
        found.append([run.callback_metrics[f"val/{name}"].item() for name in names])
    assert found[0] == found[1]


def test_the_measured_conditions_are_those_of_the_data_module(trainer, data, trained):
    model, _ = trained
    run = trainer()
    run.validate(model, datamodule=data, verbose=False)
    drawn = list(model.evaluate(data.conditions("validation").y, key=0))
    misfit = torch.cat([piece.check.misfit for piece in drawn])
    assert misfit.shape == (6, 5)
    assert run.callback_metrics["val/rmse"].item() == pytest.approx(misfit.mean().item(), rel=1e-5)


def test_validation_and_test_have_draws_of_their_own(trainer, data, trained):
    model, _ = trained
    data.counts = data.counts.__class__(validation=10, test=10)
    data.splits.validation.y[:10] = data.splits.test.y
    run = trainer()
    run.validate(model, datamodule=data, verbose=False)
    validation = measures(run)["val/rmse"]
    run.test(model, datamodule=data, verbose=False)
    assert measures(run)["test/rmse"] != pytest.approx(validation, rel=1e-6)
