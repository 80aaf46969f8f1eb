import logging

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cvae import CVAE
from cvae.data import LineTriples, Simulation, Vectors
from cvae.losses import Objective, squared
from cvae.models import Evaluation, Training
from cvae.networks import ParametersHead, dense, mixture
from cvae.show import SolutionFigures

SETTINGS = {"batch_size": 8, "evaluation": {"validation": 3, "test": 3}}


@pytest.fixture
def lines(problem):
    config = {name: value for name, value in problem().config.items() if name != "_target_"}
    return LineTriples(Simulation(16, 8, 4), **SETTINGS, **config)


@pytest.fixture
def vectors():
    problem = {"bounds": [[-1, 1]] * 3, "forward": ["x0 * x1", "x2"], "gates": {"rmse": 0.05}}
    counts = {"validation": 3, "test": 3, "references": 2}
    return Vectors(Simulation(16, 8, 4), batch_size=8, evaluation=counts, **problem)


@pytest.fixture
def fit(tmp_path):
    """Trains a tiny model for some epochs, from the same start, and returns it."""

    def run(data, *callbacks, epochs=3, logger=None, categorical=False):
        torch.manual_seed(0)
        task = data.task
        head = ParametersHead(task.space)
        if categorical:
            network = mixture(task.y_shape, 4, 2, width=8, blocks=1, head=head)
        else:
            network = dense(task.x_shape, task.y_shape, 2, hidden=[8], encoder_sees_y=True, head=head)
        objective = Objective(squared(), beta=1e-3, wx=1.0, wy=0.1)
        training = Training(lambda p: torch.optim.Adam(p, lr=0.01))
        model = CVAE(network, objective, task, Evaluation(draws=4), training)
        Trainer(
            max_epochs=epochs, accelerator="cpu", default_root_dir=tmp_path, logger=logger or False,
            callbacks=list(callbacks), enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0,
            enable_progress_bar=False, log_every_n_steps=1,
        ).fit(model, datamodule=data)  # fmt: skip
        return model

    return run


def board(folder, name):
    return TensorBoardLogger(folder, name="", version=name)


def images(folder):
    """Steps at which pictures were drawn, by their names."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


@pytest.mark.parametrize(("every", "epochs", "steps"), [(2, 3, [4, 6]), (1, 2, [2, 4]), (5, 1, [2])])
def test_pictures_are_drawn_every_few_epochs_and_after_the_last(tmp_path, fit, lines, every, epochs, steps, caplog):
    # two steps per epoch
    with caplog.at_level(logging.INFO, logger="cvae.show.pictures"):
        fit(lines, SolutionFigures(every, conditions=1), epochs=epochs, logger=board(tmp_path, "board"))
    assert f"drawing pictures of epoch {steps[0] // 2}." in caplog.text
    assert images(tmp_path / "board") == {"4 solutions/0": steps, "5 latent": steps}


class Stop(Callback):
    """Ends a training after its second epoch, as EarlyStopping does."""

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch == 1


def test_a_training_that_is_stopped_early_has_pictures_of_its_last_epoch(tmp_path, fit, lines, caplog):
    with caplog.at_level(logging.INFO, logger="cvae.show.pictures"):
        fit(lines, SolutionFigures(5, conditions=1), Stop(), epochs=9, logger=board(tmp_path, "board"))
    said = [record.message for record in caplog.records if record.name == "cvae.show.pictures"]
    assert said == ["drawing pictures of epoch 2."]
    assert images(tmp_path / "board") == {"4 solutions/0": [4], "5 latent": [4]}


@pytest.mark.parametrize("categorical", [False, True])
def test_vectors_have_a_picture_for_each_condition(tmp_path, fit, vectors, categorical):
    fit(vectors, SolutionFigures(1, conditions=2), epochs=1, logger=board(tmp_path, "board"), categorical=categorical)
    names = ("4 solutions/0", "4 solutions/1", "5 forward", "6 latent")
    assert images(tmp_path / "board") == {name: [2] for name in names}


def test_pictures_are_files_in_the_folder_of_the_run(tmp_path, fit, lines):
    fit(lines, SolutionFigures(1), epochs=1, logger=CSVLogger(tmp_path, name="", version="csv"))
    assert not list(tmp_path.rglob("events.out*"))
    files = sorted((tmp_path / "figures").iterdir())
    assert [path.name for path in files] == ["latent.png", *(f"solutions_{row}.png" for row in range(3))]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)


def test_more_conditions_than_there_are_is_all_of_them(tmp_path, fit, lines):
    fit(lines, SolutionFigures(1, conditions=99), epochs=1, logger=board(tmp_path, "board"))
    assert images(tmp_path / "board")["4 solutions/2"] == [2]


def test_pictures_do_not_change_the_training(tmp_path, fit, lines):
    plain = fit(lines, logger=board(tmp_path, "plain"), epochs=2)
    drawn = fit(lines, SolutionFigures(1, conditions=1), logger=board(tmp_path, "drawn"), epochs=2)
    for (name, first), second in zip(plain.named_parameters(), drawn.parameters(), strict=True):
        assert torch.equal(first, second), name


@pytest.mark.parametrize(("every", "conditions"), [(0, 4), (5, 0)])
def test_senseless_numbers_of_pictures_are_refused(every, conditions):
    with pytest.raises(ValueError, match=f"callbacks.figures has every_epochs={every} and conditions={conditions}"):
        SolutionFigures(every, conditions)
