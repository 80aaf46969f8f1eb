import copy

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from cvae import CVAE
from cvae.checkpoints import KEY, CheckpointError
from cvae.data import LineTriples, Simulation
from cvae.networks import Reconstruction

PROBLEM = {
    "points": 12,
    "directions": ["falling", "rising"],
    "range": [0.0, 1.0],
    "forward": ["x0 * x1"],
    "gates": {"pearson": 0.9, "rmse": 0.05},
}
CONFIG = {
    "problem": PROBLEM,
    "model": {
        "_target_": "cvae.networks.dense",
        "lines": 2,
        "points": 12,
        "conditions": 1,
        "latent_dim": 2,
        "hidden": [8],
        "encoder_sees_y": True,
        "head": {
            "_target_": "cvae.networks.EndpointsHead",
            "points": 12,
            "directions": ["falling", "rising"],
            "range": [0.0, 1.0],
        },
    },
    "loss": {
        "_target_": "cvae.losses.Objective",
        "elementwise": {"_target_": "cvae.losses.mse", "_partial_": True},
        "beta": 1e-3,
        "wx": 1.0,
        "wy": 0.1,
    },
    "evaluation": {"draws": 5, "points": "sobol"},
}  # fmt: skip


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def make(config=CONFIG, **parts):
    torch.manual_seed(0)
    return CVAE.from_config(copy.deepcopy(config), **{"optimizer": adam} | parts)


@pytest.fixture
def data():
    return LineTriples(**PROBLEM, source=Simulation(40, 20, 10), batch_size=16, evaluation={"validation": 6, "test": 4})


@pytest.fixture
def trainer(tmp_path):
    """Makes quiet trainers that keep their files in the test's own folder."""

    def build(**options):
        settings = {"max_epochs": 1, "callbacks": [ModelCheckpoint(tmp_path, filename="model")]}
        return Trainer(
            accelerator="cpu", devices=1, default_root_dir=tmp_path, logger=False, num_sanity_val_steps=0,
            enable_progress_bar=False, enable_model_summary=False, **settings | options,
        )  # fmt: skip

    return build


@pytest.fixture
def trained(trainer, data, tmp_path):
    """A model after one epoch, and its checkpoint."""
    model = make()
    trainer().fit(model, datamodule=data)
    return model.eval(), tmp_path / "model.ckpt"


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_training_step_changes_every_weight(trainer, data):
    model = make()
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer(max_steps=1).fit(model, datamodule=data)
    assert [name for name, value in model.named_parameters() if torch.equal(before[name], value)] == []


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_an_evaluation_changes_nothing(trainer, data, trained, stage):
    model, _ = trained
    before = state(model)
    getattr(trainer(), stage)(model, datamodule=data, verbose=False)
    after = state(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_fits_the_scale_of_the_conditions_before_the_first_step(trainer, data):
    model = make()
    trainer(max_steps=1).fit(model, datamodule=data)
    values = data.splits.train.y.flatten().sort().values
    assert model.network.scaler.centre.item() == values[int(0.5 * (len(values) - 1))].item()


def test_the_training_loss_falls(trainer, data):
    model, losses = make(), []
    model.on_train_epoch_start = lambda: losses.append(float(model.trainer.callback_metrics.get("train/loss", 1e9)))
    trainer(max_epochs=40, check_val_every_n_epoch=40, callbacks=[], enable_checkpointing=False).fit(
        model, datamodule=data
    )
    assert losses[-1] < 0.7 * losses[1]


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_logged_terms_are_means_over_samples_and_not_over_batches(trainer, data, stage):
    model = make()

    def reconstruct(x, y):
        zero = 0 * next(model.network.parameters()).sum()
        return Reconstruction(zero + torch.zeros_like(x)[:, None], torch.ones(len(x), 2), None, torch.zeros(len(x), 2))

    model.network.reconstruct = reconstruct
    run = trainer()
    if stage == "test":
        run.test(model, datamodule=data, verbose=False)
    else:
        run.fit(model, datamodule=data)
    # the training batches hold 16, 16 and 8 triples
    split = {"train": data.splits.train, "val": data.splits.validation, "test": data.splits.test}[stage]
    found = {name: run.callback_metrics[f"{stage}/{name}"].item() for name in ("loss", "x_term", "y_term", "kl")}
    x_term, y_term = split.x.double().square().mean().item(), split.y.double().square().mean().item()
    assert found["x_term"] == pytest.approx(x_term, rel=1e-5)
    assert found["y_term"] == pytest.approx(y_term, rel=1e-5)
    assert found["kl"] == pytest.approx(2)
    assert found["loss"] == pytest.approx(x_term + 0.1 * y_term + 2e-3, rel=1e-5)


def test_evaluation_measures_the_same_draws_every_time(trainer, data, trained):
    model, _ = trained
    found = []
    for seed in (0, 1):
        run = trainer()
        torch.manual_seed(seed)
        run.validate(model, datamodule=data, verbose=False)
        names = ("score", "coverage", "envelope", "valid", "rmse", "pearson")
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


# --- draws


def test_draws_have_their_shape_and_no_graph(data):
    y = data.splits.test.y
    x = make().draw(y, 7, generator())
    assert x.shape == (10, 7, 2, 12)
    assert not x.requires_grad


def test_the_generator_fixes_the_draws(data):
    model, y = make(), data.splits.test.y
    first = model.draw(y, 7, generator(1))
    torch.manual_seed(123)
    assert torch.equal(model.draw(y, 7, generator(1)), first)
    assert not torch.equal(model.draw(y, 7, generator(2)), first)


# --- checkpoints


def test_a_loaded_model_draws_what_the_trained_one_did(trained, data):
    model, path = trained
    loaded = CVAE.load(path)
    y = data.splits.test.y
    assert torch.equal(loaded.draw(y, 7, generator()), model.draw(y, 7, generator()))
    assert not loaded.training
    assert loaded.problem.config == model.problem.config
    assert loaded.config == CONFIG


def test_a_checkpoint_is_plain_data(trained):
    _, path = trained
    content = torch.load(path, weights_only=True)
    assert content[KEY]["config"] == CONFIG


def test_training_goes_on_from_a_checkpoint(trainer, data, trained):
    _, path = trained
    model = make()
    run = trainer(max_epochs=2)
    run.fit(model, datamodule=data, ckpt_path=path, weights_only=True)
    assert run.global_step == 6


def test_a_loaded_model_cannot_be_trained(trainer, data, trained):
    with pytest.raises(ValueError, match="built for use, not for training: it has no optimizer"):
        trainer().fit(CVAE.load(trained[1]), datamodule=data)


def changed(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def test_a_foreign_target_is_refused_and_not_run(trained, tmp_path):
    def change(content):
        content[KEY]["config"]["model"]["head"] = {"_target_": "os.mkdir", "path": str(tmp_path / "ran")}

    with pytest.raises(CheckpointError, match=r"asks for 'os\.mkdir', which is not on the allow-list"):
        CVAE.load(changed(trained[1], change))
    assert not (tmp_path / "ran").exists()


def test_a_foreign_target_hidden_in_an_interpolation_is_refused(trained):
    def change(content):
        content[KEY]["config"]["model"]["hidden"] = "${oc.env:HOME}"

    with pytest.raises(CheckpointError, match=r"holds the interpolation '\$\{oc\.env:HOME\}'"):
        CVAE.load(changed(trained[1], change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[KEY]["config"]["model"].update(hidden=[9]), "size mismatch"),
        (lambda content: content[KEY]["config"].pop("problem"), "problem"),
        (lambda content: content[KEY]["config"]["model"].update(unknown=1), "unknown"),
        (lambda content: content["state_dict"].popitem(), "Missing key"),
        (lambda content: content[KEY]["config"]["problem"].update(forward=["x0 + open"]), "unknown name 'open'"),
        (lambda content: content[KEY]["config"]["evaluation"].update(draws=0), "draws is 0"),
    ],
)
def test_weights_and_config_that_do_not_fit_are_refused(trained, change, message):
    with pytest.raises(CheckpointError, match=rf"(?s)its config and weights do not make a model \(.*{message}"):
        CVAE.load(changed(trained[1], change))


def test_a_forward_operator_of_the_user_must_be_allowed_by_name(trained, data, tmp_path, monkeypatch):
    (tmp_path / "operator_of_a_user.py").write_text("def product(x):\n    return x[..., :1, :] * x[..., 1:, :]")
    monkeypatch.syspath_prepend(str(tmp_path))
    model, path = trained
    target = {"_target_": "operator_of_a_user.product"}
    changed(path, lambda content: content[KEY]["config"]["problem"].update(forward=target))
    with pytest.raises(CheckpointError, match=r"asks for 'operator_of_a_user\.product'"):
        CVAE.load(path)
    loaded = CVAE.load(path, allow=["operator_of_a_user.product"])
    x, y = data.splits.test
    torch.testing.assert_close(loaded.problem.forward(x), y)
    assert torch.equal(loaded.draw(y, 3, generator()), model.draw(y, 3, generator()))


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [({"draws": 0, "points": "random"}, "evaluation.draws is 0"), ({"draws": 5, "points": "halton"}, "is 'halton'")],
)
def test_senseless_evaluation_is_refused(evaluation, message):
    with pytest.raises(ValueError, match=message):
        make(CONFIG | {"evaluation": evaluation})
