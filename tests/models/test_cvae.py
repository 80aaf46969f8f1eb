import pytest
import torch
from torchmetrics import MetricCollection

from cvae import CVAE
from cvae.losses import Objective, YTerm, huber
from cvae.models import Evaluation, Tempered, Training
from cvae.models.checkpoints import KEY, CheckpointError
from cvae.networks import Gaussian, GaussianLatent, ParametersHead, Reconstruction, dense
from cvae.runs.settle import settle
from cvae.runs.train import build

#: of a batch, as config
BATCH_DIVERGENCES = [
    {"_target_": "cvae.networks.MMD", "weight": 10.0, "kl": 0.5},
    {"_target_": "cvae.networks.SlicedWasserstein", "weight": 10.0},
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


# --- training


def test_a_training_step_changes_every_weight(trainer, data, make):
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


def test_training_fits_the_scales_before_the_first_step(trainer, data, make):
    model = make()
    trainer(max_steps=1).fit(model, datamodule=data)
    x, y = data.splits.train
    values = y.flatten().sort().values
    assert model.network.y_scaler.centre.item() == values[int(0.5 * (len(values) - 1))].item()
    assert torch.equal(model.network.x_scaler.centre, x.amin(0))


def test_the_training_loss_falls(trainer, data, make):
    model, losses = make(), []
    model.on_train_epoch_start = lambda: losses.append(float(model.trainer.callback_metrics.get("train/loss", 1e9)))
    trainer(max_epochs=40, check_val_every_n_epoch=40, callbacks=[], enable_checkpointing=False).fit(
        model, datamodule=data
    )
    assert losses[-1] < 0.7 * losses[1]


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_logged_terms_are_means_over_samples_and_not_over_batches(trainer, data, make, stage):
    model = make()

    def reconstruct(x, y):
        zero = 0 * next(model.network.parameters()).sum()
        # a shift of 1 costs half a nat in each of two dimensions
        posterior, prior = (Gaussian(torch.full((len(x), 2), mean), torch.zeros(len(x), 2)) for mean in (1.0, 0.0))
        found = zero + torch.zeros_like(x)[:, None]
        return Reconstruction(found, GaussianLatent(posterior, prior), torch.zeros(len(x), 2))

    model.network.reconstruct = reconstruct
    run = trainer()
    if stage == "test":
        run.test(model, datamodule=data, verbose=False)
    else:
        run.fit(model, datamodule=data)
    # the training batches hold 16, 16 and 8 triples
    split = {"train": data.splits.train, "val": data.splits.validation, "test": data.splits.test}[stage]
    found = {name: run.callback_metrics[f"{stage}/{name}"].item() for name in CVAE.terms}
    x_term, y_term = split.x.double().square().mean().item(), split.y.double().square().mean().item()
    assert found["x_term"] == pytest.approx(x_term, rel=1e-5)
    assert found["y_term"] == pytest.approx(y_term, rel=1e-5)
    assert found["kl"] == pytest.approx(1)
    assert found["loss"] == pytest.approx(x_term + 0.1 * y_term + 1e-3, rel=1e-5)


def test_everything_that_it_promises_to_measure_is_logged(trainer, data, make):
    run = trainer()
    run.fit(make(), datamodule=data)
    assert CVAE.measured() <= set(run.callback_metrics)


def test_only_what_a_training_step_computes_is_compiled(trainer, data, make, monkeypatch):
    calls = []

    def compiler(function, **options):
        def compiled(*args):
            calls.append(len(args[0]))
            return function(*args)

        return compiled

    # the compiler itself takes a minute; what matters here is what is compiled, and what the weights are called
    monkeypatch.setattr(torch, "compile", compiler)
    plain, compiled = make(), make()
    compiled.compile_training()
    for model in (plain, compiled):
        trainer().fit(model, datamodule=data)
    assert calls == [16, 16, 8]
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in compiled.state_dict().items())


@pytest.mark.parametrize("compile", [False, True])
def test_the_config_says_whether_a_training_is_compiled(shipped, monkeypatch, compile):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: calls.append(function) or function)
    build(settle(shipped("model=dense", "recipe.separate=false", "recipe.y_term=true", f"compile={compile}")))
    assert len(calls) == int(compile)


# --- draws


def test_draws_have_their_shape_and_no_graph(data, make):
    y = data.splits.test.y
    x = make().draw(y, 7, generator())
    assert x.shape == (10, 7, 2, 12)
    assert not x.requires_grad


def test_the_generator_fixes_the_draws(data, make):
    model, y = make(), data.splits.test.y
    first = model.draw(y, 7, generator(1))
    torch.manual_seed(123)
    assert torch.equal(model.draw(y, 7, generator(1)), first)
    assert not torch.equal(model.draw(y, 7, generator(2)), first)


@pytest.mark.parametrize("size", [1, 5, 11, 1_000])
def test_draws_do_not_depend_on_how_many_are_decoded_at_once(data, make, monkeypatch, size):
    model, y = make(), data.splits.test.y
    whole = model.draw(y, 5, generator())
    sizes = []
    decode = model.network.draw

    def watched(y, u, temperature):
        sizes.append(u.shape[0] * u.shape[1])
        return decode(y, u, temperature)

    model.network.draw = watched
    monkeypatch.setattr("cvae.models.cvae.chunk_size", lambda device, numbers: size)
    torch.testing.assert_close(model.draw(y, 5, generator()), whole)
    assert max(sizes) == min(50, size - size % 5 if size > 5 else size)
    assert sum(sizes) == 50


def test_a_tempered_model_spreads_its_latent_and_is_a_sampler(data, make, monkeypatch):
    model, y = make(), data.splits.test.y
    asked = []
    decode = model.network.decoder.forward
    monkeypatch.setattr(model.network.decoder, "forward", lambda z, y: asked.append(z) or decode(z, y))
    plain, same, wide = model, model.tempered(1.0), model.tempered(2.5)
    x = [sampler.draw(y, 7, generator()) for sampler in (plain, same, wide)]
    assert torch.equal(x[0], x[1])
    assert x[2].shape == x[0].shape
    assert not torch.equal(x[2], x[0])
    torch.testing.assert_close(asked[2], 2.5 * asked[0])
    assert isinstance(model, Tempered)


def test_plain_draws_have_the_temperature_of_the_config(data, make, config):
    config["evaluation"]["temperature"] = 1.5
    y = data.splits.test.y
    assert torch.equal(make(config).draw(y, 7, generator()), make().tempered(1.5).draw(y, 7, generator()))


# --- checkpoints


def test_a_loaded_model_draws_what_the_trained_one_did(trained, data, config):
    model, path = trained
    loaded = CVAE.load(path)
    y = data.splits.test.y
    assert torch.equal(loaded.draw(y, 7, generator()), model.draw(y, 7, generator()))
    assert not loaded.training
    assert loaded.problem.config == model.problem.config == config["task"]
    assert loaded.config == config


def test_a_checkpoint_is_plain_data(trained, config):
    _, path = trained
    content = torch.load(path, weights_only=True)
    assert content[KEY]["config"] == config


def test_training_goes_on_from_a_checkpoint(trainer, data, trained, make):
    _, path = trained
    run = trainer(max_epochs=2)
    run.fit(make(), datamodule=data, ckpt_path=path, weights_only=True)
    assert run.global_step == 6


@pytest.mark.parametrize("noise", ["StandardNormal", "StandardUniform", "StandardStudentT"])
@pytest.mark.parametrize("divergence", [{"_target_": "cvae.networks.KL"}, *BATCH_DIVERGENCES])
def test_a_model_of_any_latent_learns_and_comes_back(noise, divergence, trainer, data, make, config, tmp_path):
    config["model"]["latent"] = {
        "_target_": "cvae.networks.LatentOptions",
        "noise": {"_target_": f"cvae.networks.{noise}", "_partial_": True},
        "divergence": divergence,
    }
    model, before = make(config), make(config)
    run = trainer()
    run.fit(model, datamodule=data)
    assert all(value.isfinite() for value in run.callback_metrics.values())
    changed = [not torch.equal(*both) for both in zip(model.parameters(), before.parameters(), strict=True)]
    assert all(changed)
    y = data.splits.test.y
    assert torch.equal(CVAE.load(tmp_path / "model.ckpt").draw(y, 7, generator()), model.draw(y, 7, generator()))


def test_a_training_that_goes_on_keeps_the_scales_of_its_checkpoint(trainer, data, trained, make):
    model, path = trained
    data.splits.train.y.mul_(3)
    again = make()
    trainer(max_epochs=2).fit(again, datamodule=data, ckpt_path=path, weights_only=True)
    assert torch.equal(again.network.y_scaler.scale, model.network.y_scaler.scale)


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
        (lambda content: content[KEY]["config"]["model"].update(hidden=[7]), "do not fit this model: .* in the file"),
        (lambda content: content["state_dict"].update(more=torch.ones(2)), "more is .2,. in the file and not there"),
        (lambda content: content[KEY]["config"].pop("task"), "config does not make a model .*task"),
        (lambda content: content[KEY]["config"]["model"].update(unknown=1), "config does not make a model .*unknown"),
        (lambda content: content[KEY]["config"]["task"].update(forward=["x0 + open"]), "unknown name 'open'"),
        (lambda content: content[KEY]["config"]["evaluation"].update(draws=0), "not make a model .*draws is 0"),
        (lambda content: next(iter(content["state_dict"].values())).view(-1)[0].fill_(torch.nan), "are not finite"),
    ],
)
def test_weights_and_config_that_do_not_fit_are_refused(trained, change, message):
    with pytest.raises(CheckpointError, match=rf"(?s)\.ckpt: .*{message}"):
        CVAE.load(changed(trained[1], change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": [8] * 200_000}, "has more than 100,000 entries"),
        ({"hidden": [8] * 90_000}, "asks for a larger model than its 12 tensors"),
        ({"hidden": [9_999, 9_999]}, "asks for a larger model than its 12 tensors"),
        ({"hidden": [10**12]}, "asks for 1000000000000, but it holds 538 weights"),
        ({"latent_dim": 3_000_000}, "asks for latent_dim=3000000, but it holds 538 weights"),
        (
            {"_target_": "cvae.networks.deep", "width": 8, "blocks": 3_000_000, "hidden": None},
            "asks for blocks=3000000, but it holds 538 weights",
        ),
    ],
)
def test_a_model_that_is_larger_than_its_weights_is_refused(trained, change, message):
    with pytest.raises(CheckpointError, match=rf"\.ckpt: .*{message}"):
        CVAE.load(changed(trained[1], lambda content: content[KEY]["config"]["model"].update(change)))


def test_a_task_that_is_larger_than_the_weights_is_refused(trained):
    with pytest.raises(CheckpointError, match=r"\.ckpt: its config asks for points=3000000, but it holds"):
        CVAE.load(changed(trained[1], lambda content: content[KEY]["config"]["task"].update(points=3_000_000)))


def test_a_forward_operator_of_the_user_must_be_allowed_by_name(trained, data, tmp_path, monkeypatch):
    (tmp_path / "operator_of_a_user.py").write_text("def product(x):\n    return x[..., :1, :] * x[..., 1:, :]")
    monkeypatch.syspath_prepend(str(tmp_path))
    model, path = trained
    target = {"_target_": "operator_of_a_user.product"}
    changed(path, lambda content: content[KEY]["config"]["task"].update(forward=target))
    with pytest.raises(CheckpointError, match=r"asks for 'operator_of_a_user\.product'"):
        CVAE.load(path)
    loaded = CVAE.load(path, allow=["operator_of_a_user.product"])
    x, y = data.splits.test
    torch.testing.assert_close(loaded.problem.forward(x), y)
    assert torch.equal(loaded.draw(y, 3, generator()), model.draw(y, 3, generator()))


def vector_model(shipped, *overrides):
    """An untrained model of a vector problem, as the shipped config makes it, and its data."""
    cfg = settle(shipped("data=sine_wave", "recipe.separate=false", "recipe.y_term=false", *overrides))
    return build(cfg)


@pytest.mark.parametrize("model", ["dense", "deep", "film", "mixture", "branches"])
def test_a_model_of_vectors_comes_back_from_its_checkpoint(shipped, trainer, tmp_path, model):
    data, network = vector_model(shipped, f"model={model}")
    trainer().fit(network, datamodule=data)
    loaded = CVAE.load(tmp_path / "model.ckpt")
    y = data.splits.test.y
    x = loaded.draw(y, 7, generator())
    assert x.shape == (16, 7, 2)
    assert torch.equal(x, network.draw(y, 7, generator()))
    assert loaded.problem.space.bounds == ((-1, 1), (-1, 1))


@pytest.mark.parametrize("place", [["task"], ["task", "forward"], ["model", "head", "space"], ["loss", "likelihood"]])
def test_a_checkpoint_of_vectors_cannot_name_foreign_targets(shipped, trainer, tmp_path, place):
    data, network = vector_model(shipped, "model=dense")
    trainer(max_steps=1).fit(network, datamodule=data)

    def change(content):
        node = content[KEY]["config"]
        for name in place[:-1]:
            node = node[name]
        node[place[-1]] = {"_target_": "os.mkdir", "path": str(tmp_path / "ran")}

    with pytest.raises(CheckpointError, match=r"asks for 'os\.mkdir', which is not on the allow-list"):
        CVAE.load(changed(tmp_path / "model.ckpt", change))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"draws": 0}, "evaluation.draws is 0"),
        ({"draws": 5, "point_set": "halton"}, "evaluation.point_set is 'halton'"),
        ({"temperature": 0.0}, "evaluation.temperature is 0.0; it must be positive"),
    ],
)
def test_senseless_evaluation_is_refused(make, config, evaluation, message):
    with pytest.raises(ValueError, match=message):
        make(config | {"evaluation": evaluation})


class WithoutForward:
    """A task that knows no f."""

    x_shape, y_shape, config, headline = (2, 12), (1, 12), {}, "loss"

    def x_scale(self, like):
        return torch.ones(1)

    def measures(self):
        return MetricCollection({})


def test_a_task_without_f_has_no_y_term_and_no_check(data, config):
    model = CVAE.from_config(config, WithoutForward(), Training(torch.optim.Adam))
    with pytest.raises(ValueError, match="has no forward operator, so its draws cannot be checked or refined"):
        _ = model.problem
    assert set(model.loss(data.splits.test)) == {"loss", "x_term", "kl"}


# --- built from classes


def plain_parts(data, head=None):
    network = dense(data.task.x_shape, data.task.y_shape, 2, [8], True, head or ParametersHead(data.task.space))
    objective = Objective(huber(0.2), beta=1e-3, wx=1.0, wy=0.1, y_term=YTerm(scale=0.05))
    return {
        "network": network,
        "objective": objective,
        "task": data.task,
        "training": Training(lambda weights: torch.optim.Adam(weights, lr=0.01)),
    }


def test_a_model_built_from_classes_is_saved_by_lightning_and_loaded_alone(trainer, data, tmp_path):
    model = CVAE(**plain_parts(data), evaluation=Evaluation(draws=7, point_set="sobol"))
    run = trainer()
    run.fit(model, datamodule=data)
    run.save_checkpoint(tmp_path / "mine.ckpt")
    torch.load(tmp_path / "mine.ckpt", weights_only=True)
    loaded = CVAE.load(tmp_path / "mine.ckpt")
    y = data.splits.test.y
    first, second = (each.draw(y, 5, torch.Generator().manual_seed(0)) for each in (model.eval(), loaded))
    assert torch.equal(first, second)
    batch = data.splits.validation
    torch.manual_seed(0)
    expected = model.loss(batch)["loss"]
    torch.manual_seed(0)
    assert torch.equal(loaded.loss(batch)["loss"], expected)
    assert loaded.evaluation == model.evaluation
    assert loaded.config == model.config


class OwnHead(ParametersHead):
    """A head that nothing records."""


def test_a_model_with_a_part_that_is_not_recorded_says_how_to_keep_it(trainer, data, tmp_path):
    model = CVAE(**plain_parts(data, OwnHead(data.task.space)))
    run = trainer()
    with pytest.warns(UserWarning, match=r"no config of this CVAE is known.*decorate your own with cvae\.recording"):
        run.fit(model, datamodule=data)
    with pytest.raises(CheckpointError, match=r"holds no config.*decorate your own with cvae\.recording\.recorded"):
        CVAE.load(tmp_path / "model.ckpt")
    # with a config of one's own
    assert CVAE(**plain_parts(data, OwnHead(data.task.space)), config={"note": 1}).config == {"note": 1}
