"""The digits from the shipped experiment to pictures, measures and generated numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cvae import CVAE
from cvae.errors import UserError
from cvae.generation import generate_digits
from cvae.runs.launch import run

SHARED = Path(os.environ.get("CVAE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "mnist"
MEASURES = ("accuracy", "real_accuracy", "diversity", "diversity_lowest", "nearest", "nearest_real", "copies", "elbo")
PICTURES = ("draws", "reconstructions", "traversal")


def trained(cfg: DictConfig, folder: Path) -> dict[str, float]:
    """Measures of a run."""
    run(cfg, folder)
    measures: dict[str, float] = json.loads((folder / "result.json").read_text())["measures"]
    return measures


def test_a_run_has_its_measures_and_pictures_and_can_be_used(
    shipped: Callable[..., DictConfig], tmp_path: Path
) -> None:
    tiny = ("trainer.max_epochs=1", "data.batch_size=64", "data.evaluation.test=20", "model.hidden=[32]")
    measures = trained(shipped("experiment=digits", *tiny, small=("~callbacks.progress",)), tmp_path)
    assert {f"test/{name}" for name in MEASURES} <= set(measures)
    assert {"val/accuracy", "val/loss", "val/kl", "val/active_units"} <= set(measures)
    # binomial of 16 trials; both take samples of the latent
    assert measures["test/elbo"] == pytest.approx(-measures["test/loss"], rel=0.02)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == set(PICTURES)
    board = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert set(board.Tags()["images"]) == {"4 draws", *PICTURES} - {"draws"}
    model = CVAE.load(tmp_path / "checkpoints" / "best.ckpt")
    assert generate_digits(model, [2, 0, 2, 6], draws=2).shape == (4, 2, 8, 8)


def test_stages_that_need_a_check_are_refused_before_the_training(
    shipped: Callable[..., DictConfig], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no forward operator f, .*: use generation=default, or set generation\."):
        run(shipped("experiment=digits", "generation=complete", small=()), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dense_image", "conv"])
def test_small_digits_are_recognised_and_diverse(
    shipped: Callable[..., DictConfig], tmp_path: Path, model: str
) -> None:
    found = trained(shipped("experiment=digits", f"model={model}", small=("~callbacks.progress",)), tmp_path)
    assert found["test/real_accuracy"] >= 0.97
    assert found["test/accuracy"] >= 0.95
    assert 0.78 <= found["test/diversity"] <= 1.1
    assert found["test/copies"] <= 0.05


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the files of MNIST are not in {SHARED}")
def test_mnist_is_learned_within_the_goals(shipped: Callable[..., DictConfig], tmp_path: Path) -> None:
    words = ("experiment=digits", "data=mnist", f"data.root={SHARED}")
    found = trained(shipped(*words, small=("~callbacks.progress",)), tmp_path)
    assert found["test/real_accuracy"] >= 0.985
    assert found["test/accuracy"] >= 0.97
    assert found["test/elbo"] > -100
    assert 0.8 <= found["test/diversity"] <= 1.1
    assert found["test/copies"] <= 0.05
