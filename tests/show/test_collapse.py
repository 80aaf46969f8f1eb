import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer

from cvae import CVAE
from cvae.data import LineTriples, Simulation
from cvae.losses import Objective, squared
from cvae.models import Evaluation, Training
from cvae.networks import MMD, NoisyCVAE, ParametersHead, dense
from cvae.show import CollapseWarning
from cvae.show.collapse import largest_beta


@pytest.fixture
def warned(tmp_path, caplog, problem):
    """Trains a tiny model with a weight of the KL, and returns the warnings."""

    def run(beta, callback, epochs=6, sanity=0):
        config = {name: value for name, value in problem().config.items() if name != "_target_"}
        data = LineTriples(Simulation(64, 8, 4), batch_size=8, evaluation={"validation": 2, "test": 2}, **config)
        torch.manual_seed(0)
        head = ParametersHead(data.task.space)
        network = dense(data.task.x_shape, data.task.y_shape, 2, hidden=[16], encoder_sees_y=True, head=head)
        objective = Objective(squared(), beta=beta, wx=0.5, wy=0.1)
        training = Training(lambda p: torch.optim.Adam(p, lr=0.01))
        model = CVAE(network, objective, data.task, Evaluation(draws=2), training)
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", default_root_dir=tmp_path, logger=False, callbacks=[callback],
            enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=sanity,
            enable_progress_bar=False,
        )  # fmt: skip
        with caplog.at_level(logging.WARNING, logger="cvae"):
            trainer.fit(model, datamodule=data)
        kl = float(trainer.callback_metrics["val/kl"])
        return kl, [record.getMessage() for record in caplog.records if record.name == "cvae.show.collapse"]

    return run


def test_a_beta_at_which_no_latent_can_pay_is_told_once_in_plain_words(warned):
    kl, warnings = warned(1000.0, CollapseWarning())
    assert kl < 0.1
    (message,) = warnings
    # two validations of eight steps
    for words in (
        "after 16 steps the latent carries",
        "0 active units",
        "all draws for one y are nearly the same",
        "a nat costs loss.beta=1000",
        "Lower loss.beta by factors of ten",
        "raise loss.wx (now 0.5)",
    ):
        assert words in message


def test_a_latent_that_had_no_time_is_left_in_peace(warned):
    kl, warnings = warned(1e-4, CollapseWarning(least_kl=100.0))
    assert kl < 100
    assert warnings == []
    # after half of as many steps as it gets here it is told
    assert len(warned(1e-4, CollapseWarning(least_kl=100.0, least_steps=24))[1]) == 1


def test_a_healthy_training_is_left_in_peace(warned):
    kl, warnings = warned(1e-4, CollapseWarning(least_steps=0))
    assert kl > 0.1
    assert warnings == []


#: steps of an epoch and of the whole training
STEPS, TOTAL = 100, 1000


class Stage:
    """What the callback reads of a trainer."""

    def __init__(self, fn="fit", rank=0):
        self.state = type("State", (), {"fn": fn})
        self.is_global_zero = rank == 0
        self.sanity_checking = False
        self.callback_metrics = {}
        self.global_step = 0
        self.estimated_stepping_batches = TOTAL


@pytest.fixture
def warnings_after(caplog):
    """The validation after which the callback has warned, for a course of the KL; the reconstructions cost 3."""

    def run(callback, course, beta=7.0, network=None, **stage):
        trainer = Stage(**stage)
        objective = type("Objective", (), {"beta": beta, "wx": 1.0, "wy": 2.0})
        model = type("Model", (), {"objective": objective, "network": network})
        numbers = []
        with caplog.at_level(logging.WARNING, logger="cvae"):
            for number, kl in enumerate(course, start=1):
                before = len(caplog.records)
                trainer.global_step += STEPS
                trainer.sanity_checking = kl == "sanity"
                measures = {"val/kl": 0.0 if kl == "sanity" else kl, "val/x_term": 1.0, "val/y_term": 1.0}
                trainer.callback_metrics = {name: torch.tensor(value) for name, value in measures.items()}
                callback.on_validation_end(trainer, model)
                numbers += [number] * (len(caplog.records) - before)
        return numbers

    return run


@pytest.mark.parametrize(
    ("course", "after"),
    [
        ([0.01, 0.01, 0.01, 0.01], [3]),
        ([0.01, 0.01, 3.0, 0.01, 0.01, 0.01], [6]),
        ([3.0, 2.0, 1.0, 0.1], []),
        ([0.01, 0.01, 0.01, 3.0, 0.01, 0.01, 0.01], [3]),
        (["sanity", 0.01, 0.01, 3.0], []),
        ([float("nan")] * 5, []),
        ([], []),
    ],
)
def test_only_the_first_collapse_that_lasts_is_told(warnings_after, course, after):
    assert warnings_after(CollapseWarning(least_kl=0.1, patience=3), course) == after


@pytest.mark.parametrize(
    ("beta", "least_steps", "after"),
    [
        (6.1, 1000, [2]),  # above twice the cost of the reconstructions: at once
        (5.9, 1000, [10]),  # below: after the steps that a latent gets
        (5.9, 300, [5]),  # and half of the training
        (5.9, 1001, []),
    ],
)
def test_a_latent_that_could_pay_gets_its_chance(warnings_after, beta, least_steps, after):
    assert warnings_after(CollapseWarning(least_steps=least_steps), [0.01] * 10, beta) == after


@pytest.mark.parametrize("network", [object.__new__(NoisyCVAE), SimpleNamespace(divergence=MMD(weight=1.0))])
def test_where_a_nat_does_not_cost_beta_or_zero_is_not_the_least_cost_it_waits(warnings_after, caplog, network):
    assert warnings_after(CollapseWarning(), [0.01] * 10, 6.1, network) == [10]
    assert "nearly the same. Train longer" in caplog.text


def test_the_bound_is_where_a_latent_of_one_dimension_wakes():
    # a linear autoencoder of a Gaussian with the cost c: minimise c exp(-2 R) + beta R over the nats R
    nats, cost = np.linspace(0, 1, 100_001), 3.0
    model = SimpleNamespace(network=None, objective=SimpleNamespace(wx=1.0, wy=2.0))
    bound = largest_beta(model, {"val/x_term": torch.tensor(1.0), "val/y_term": torch.tensor(1.0)})
    for beta, wakes in ((0.99 * bound, True), (1.01 * bound, False)):
        assert (nats[np.argmin(cost * np.exp(-2 * nats) + beta * nats)] > 0) == wakes


@pytest.mark.parametrize(
    ("beta", "words"),
    [
        (7.0, "It cannot pay: a nat costs loss.beta=7, and can save 6 at most. Lower loss.beta by factors of ten"),
        (1.0, "A nat costs loss.beta=1 and can save 6 at most. Lower loss.beta; if that does not help, train longer"),
        (0.1, "A nat costs loss.beta=0.1 and can save 6 at most. Train longer"),
    ],
)
def test_the_advice_fits_the_case(warnings_after, caplog, beta, words):
    assert warnings_after(CollapseWarning(least_steps=0), [0.01] * 5, beta)
    assert words in caplog.text


@pytest.mark.parametrize("stage", [{"fn": "validate"}, {"fn": "test"}, {"rank": 1}])
def test_only_a_training_warns_and_only_its_first_process(warnings_after, stage):
    assert warnings_after(CollapseWarning(patience=1), [0.0, 0.0], **stage) == []
    assert warnings_after(CollapseWarning(patience=1), [0.0, 0.0]) == [1]


@pytest.mark.parametrize(("least_kl", "patience", "steps"), [(0.0, 2, 9), (-1.0, 2, 9), (0.1, 0, 9), (0.1, 1, -1)])
def test_senseless_numbers_are_refused(least_kl, patience, steps):
    with pytest.raises(ValueError, match=rf"has least_kl={least_kl}, patience={patience} and least_steps={steps}"):
        CollapseWarning(least_kl, patience, steps)


def test_a_resumed_training_goes_on_counting_and_warns_no_second_time(warnings_after):
    first = CollapseWarning(patience=3)
    assert warnings_after(first, [0.01, 0.01]) == []
    resumed = CollapseWarning(patience=3)
    resumed.load_state_dict(first.state_dict())
    assert warnings_after(resumed, [0.01, 0.01, 0.01, 0.01]) == [1]
    again = CollapseWarning(patience=3)
    again.load_state_dict(resumed.state_dict())
    assert warnings_after(again, [0.01] * 5) == []
