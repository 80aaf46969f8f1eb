import logging

import pytest
import torch
from lightning import Trainer

from cvae import CVAE
from cvae.data import LineTriples, Simulation
from cvae.losses import Objective, squared
from cvae.models import Evaluation, Training
from cvae.networks import ParametersHead, dense
from cvae.show import CollapseWarning


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


def test_a_collapsed_training_is_told_once_in_plain_words(warned):
    kl, warnings = warned(1000.0, CollapseWarning())
    assert kl < 0.1
    (message,) = warnings
    for words in (
        "the posterior has collapsed",
        "0 active units",
        "all draws for one y are nearly the same",
        "lower loss.beta (now 1000)",
        "raise loss.wx (now 0.5)",
    ):
        assert words in message


def test_a_healthy_training_is_left_in_peace(warned):
    kl, warnings = warned(1e-4, CollapseWarning())
    assert kl > 0.1
    assert warnings == []


class Stage:
    """What the callback reads of a trainer."""

    def __init__(self, fn="fit", rank=0):
        self.state = type("State", (), {"fn": fn})
        self.is_global_zero = rank == 0
        self.sanity_checking = False
        self.callback_metrics = {}


@pytest.fixture
def warnings_after(caplog):
    """The validation after which the callback has warned, for a course of the KL."""

    def run(callback, course, **stage):
        trainer = Stage(**stage)
        model = type("Model", (), {"objective": type("Objective", (), {"beta": 1.0, "wx": 1.0})})
        numbers = []
        with caplog.at_level(logging.WARNING, logger="cvae"):
            for number, kl in enumerate(course, start=1):
                caplog.clear()
                trainer.sanity_checking = kl == "sanity"
                trainer.callback_metrics = {"val/kl": torch.tensor(0.0 if kl == "sanity" else kl)}
                callback.on_validation_end(trainer, model)
                numbers += [number] * len(caplog.records)
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


@pytest.mark.parametrize("stage", [{"fn": "validate"}, {"fn": "test"}, {"rank": 1}])
def test_only_a_training_warns_and_only_its_first_process(warnings_after, stage):
    assert warnings_after(CollapseWarning(patience=1), [0.0, 0.0], **stage) == []
    assert warnings_after(CollapseWarning(patience=1), [0.0, 0.0]) == [1]


@pytest.mark.parametrize(("least_kl", "patience"), [(0.0, 2), (-1.0, 2), (0.1, 0)])
def test_senseless_numbers_are_refused(least_kl, patience):
    with pytest.raises(ValueError, match=rf"callbacks.collapse has least_kl={least_kl} and patience={patience}"):
        CollapseWarning(least_kl, patience)


def test_a_resumed_training_goes_on_counting_and_warns_no_second_time(warnings_after):
    first = CollapseWarning(patience=3)
    assert warnings_after(first, [0.01, 0.01]) == []
    resumed = CollapseWarning(patience=3)
    resumed.load_state_dict(first.state_dict())
    assert warnings_after(resumed, [0.01, 0.01, 0.01, 0.01]) == [1]
    again = CollapseWarning(patience=3)
    again.load_state_dict(resumed.state_dict())
    assert warnings_after(again, [0.01] * 5) == []
