"""The parts of a training that need no training."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from cvae.config import digest
from cvae.training import build, kept_checkpoint, measured, quiet, settings_of, train, versions


def trainer_with(best: float | None, mode: str = "max") -> Any:
    checkpoint, last = ModelCheckpoint(monitor="val/score", mode=mode), ModelCheckpoint(monitor=None)
    if best is not None:
        checkpoint.best_model_path, last.best_model_path = "best.ckpt", "last.ckpt"
        checkpoint.best_model_score = torch.tensor(best)
    return SimpleNamespace(checkpoint_callbacks=[checkpoint, last])


@pytest.mark.parametrize(
    ("best", "mode", "kept"),
    [
        (0.3, "max", "best.ckpt"),
        (0.0, "max", "last.ckpt"),  # a score that never left 0 tells no epoch from another
        (0.0, "min", "best.ckpt"),  # an error of 0 is the best there is
        (None, "max", None),
    ],
)
def test_the_best_checkpoint_is_kept_unless_none_is_better(best: float | None, mode: str, kept: str | None) -> None:
    assert kept_checkpoint(trainer_with(best, mode)) == kept


def test_without_a_checkpoint_callback_nothing_is_kept() -> None:
    assert kept_checkpoint(SimpleNamespace(checkpoint_callbacks=[])) is None


def test_a_metric_that_is_not_measured_is_refused_before_training(shipped: Any) -> None:
    with pytest.raises(ValueError, match=r"'val/luck', which is not measured; choose one of .*val/score"):
        build(shipped("optimized_metric=val/luck"))


def test_what_is_measured_is_known_before_training(
    shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("cvae.training.write_json", lambda path, content: seen.update(content))
    cfg = shipped("debug=fast_dev_run", "test=false")
    train(cfg, tmp_path)
    assert set(seen["measures"]) <= measured(build(cfg)[1])


def test_settings_are_the_same_in_every_folder(shipped: Any) -> None:
    first, second = shipped("run_dir=/a"), shipped("run_dir=/b")
    assert digest(settings_of(first)) == digest(settings_of(second))
    assert digest(settings_of(first)) != digest(settings_of(shipped("run_dir=/a", "seed=1")))
    assert first.run_dir == "/a"


def test_versions_name_what_decides_a_result() -> None:
    assert set(versions()) == {"python", "cvae", "torch", "lightning", "hydra-core", "torchmetrics", "numpy"}


def test_quiet_hides_the_known_noise_and_nothing_else() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet():
            warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated", stacklevel=1)
            warnings.warn("the loss is not finite", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["the loss is not finite"]


def test_the_last_epoch_is_kept_where_the_score_stays_zero(shipped, tmp_path):
    # a gate that nothing passes: the score tells no epoch from another
    cfg = shipped("data.gates.rmse=1e-6", "trainer.max_epochs=3", "recipe.separate=false", "recipe.y_term=false")
    train(cfg, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    kept = torch.load(tmp_path / "run" / result["checkpoint"], weights_only=True)
    assert result["measures"]["val/score"] == 0
    assert kept["epoch"] == 2
