import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cvae import CVAE
from cvae.callbacks import SolutionFigures
from cvae.data import LineTriples, Simulation
from cvae.losses import Objective, mse
from cvae.networks import EndpointsHead, dense


@pytest.fixture
def data():
    return LineTriples(
        50, ["falling", "rising"], [0, 1], ["x0 * x1"], {"pearson": 0.9, "rmse": 0.05},
        source=Simulation(16, 8, 4), batch_size=8, evaluation={"validation": 3, "test": 3},
    )  # fmt: skip


@pytest.fixture
def fit(tmp_path, data):
    """Trains a tiny model for some epochs, from the same start, and returns it."""

    def run(*callbacks, epochs=3, logger=None):
        torch.manual_seed(0)
        head = EndpointsHead(50, ["falling", "rising"], [0, 1])
        network = dense(2, 50, 1, latent_dim=2, hidden=[8], encoder_sees_y=True, head=head)
        objective = Objective(mse, beta=1e-3, wx=1.0, wy=0.1)
        model = CVAE(network, objective, data.problem, draws=4, optimizer=lambda p: torch.optim.Adam(p, lr=0.01))
        Trainer(
            max_epochs=epochs, accelerator="cpu", default_root_dir=tmp_path, logger=logger or False,
            callbacks=list(callbacks), enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0,
            enable_progress_bar=False,
            log_every_n_steps=1,
        ).fit(model, datamodule=data)  # fmt: skip
        return model

    return run


def images(folder):
    """Steps at which pictures were drawn, by their names."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


@pytest.mark.parametrize(("every", "epochs", "steps"), [(2, 3, [4, 6]), (1, 2, [2, 4]), (5, 1, [2])])
def test_pictures_are_drawn_every_few_epochs_and_after_the_last(tmp_path, fit, every, epochs, steps):
    # two steps per epoch
    fit(
        SolutionFigures(every, conditions=2),
        epochs=epochs,
        logger=TensorBoardLogger(tmp_path, name="", version="board"),
    )
    assert images(tmp_path / "board") == {"solutions": steps, "latent": steps}


def test_without_tensorboard_nothing_is_drawn(tmp_path, fit):
    fit(SolutionFigures(1), epochs=1, logger=CSVLogger(tmp_path, name="", version="csv"))
    assert not list(tmp_path.rglob("events.out*"))


def test_more_conditions_than_there_are_is_all_of_them(tmp_path, fit):
    fit(SolutionFigures(1, conditions=99), epochs=1, logger=TensorBoardLogger(tmp_path, name="", version="board"))
    assert images(tmp_path / "board")["solutions"] == [2]


def test_pictures_do_not_change_the_training(tmp_path, fit):
    plain = fit(logger=TensorBoardLogger(tmp_path, name="", version="plain"))
    drawn = fit(SolutionFigures(1), logger=TensorBoardLogger(tmp_path, name="", version="drawn"))
    for (name, first), second in zip(plain.named_parameters(), drawn.parameters(), strict=True):
        assert torch.equal(first, second), name


@pytest.mark.parametrize(("every", "conditions"), [(0, 4), (5, 0)])
def test_senseless_numbers_of_pictures_are_refused(every, conditions):
    with pytest.raises(ValueError, match=f"callbacks.figures has every_epochs={every} and conditions={conditions}"):
        SolutionFigures(every, conditions)
