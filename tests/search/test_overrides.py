"""Overrides that all trials share, and overrides as an experiment file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from omegaconf import OmegaConf

from cvae.search.overrides import experiment, is_group, read_overrides, spelled


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("data=product", r"overrides is 'data=product'; it must be a list"),
        (["trainer.max_epochs=[1"], r"overrides: .*\[1"),
        (["model=dense,deep"], r"a sweep; all trials must share one value"),
        (["~callbacks.progress"], r"~callbacks.progress; an experiment file cannot delete"),
        (["optimized_metric=val/valid"], r"optimized_metric=val/valid; set search.keep"),
        (["experiment=starter"], r"experiment=starter; an experiment file cannot stand within"),
        (["hydra.run.dir=x"], r"plain overrides of the training config only"),
    ],
)
def test_what_all_trials_cannot_share_is_refused(overrides: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_overrides(overrides)


def test_groups_are_told_from_values() -> None:
    assert is_group("model")
    assert is_group("model/head")
    assert not is_group("seed")
    assert not is_group("model.latent_dim")


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (None, "null"), (1e-05, "1e-05"), ([256, 16], "[256,16]"), ("adam", "adam")]
)
def test_values_are_written_as_hydra_reads_them(value: Any, text: str) -> None:
    assert spelled(value) == text
    assert read_overrides([f"seed={text}"])[0].value() == value


def test_an_experiment_file_does_what_the_overrides_do(tmp_path: Path) -> None:
    overrides = [
        "data=two_birds", "data.forward=['x0 * x1', 'sin(3*x0)']", "model=deep", "model/head=points",
        "model.latent_dim=3", "optimizer=sgd", "optimizer.lr=1e-05", "optimizer.momentum=0.5", "model=dense",
        "loss.wy=null", "+trainer.accumulate_grad_batches=2", "threads=1",
    ]  # fmt: skip
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "best.yaml").write_text(experiment(overrides, "a comment\nof two lines"))
    # Hydra as its command line has it, where the search path can be given
    by_file = compose("train", ["experiment=best", f"hydra.searchpath=[file://{tmp_path}]"])
    assert OmegaConf.to_container(by_file) == OmegaConf.to_container(compose("train", overrides))
