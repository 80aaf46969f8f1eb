"""The experiment of light curves from its command line's config to generated curves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from cvae.generation import Plan, generate
from cvae.models import CVAE
from cvae.runs.launch import run
from cvae.tasks import LightCurves

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty series of one bump each, narrower for smaller p."""
    rng, labels, time = np.random.default_rng(0), [], np.linspace(0, 1, 40)
    for number in range(60):
        p = 10 ** rng.uniform(-1, 0)
        path = tmp_path / "curves" / f"{number:05d}" / "05.dat"
        path.parent.mkdir(parents=True)
        np.savetxt(path, 2 + 5 * np.exp(-((time - rng.uniform(0.3, 0.7)) ** 2) / (2 * (0.3 * p) ** 2)))
        labels.append([0.3, 0.3, 0.5, p])
    np.savetxt(tmp_path / "curves" / "labels.dat", labels)
    return tmp_path / "curves"


def test_the_experiment_learns_from_folders_and_generates(folder: Path, tmp_path: Path) -> None:
    overrides = [
        "experiment=light_curves",
        "data=light_curves_files",
        f"data.source.root={folder}",
        "data.points=32",
        "data.radii=[0.1,1]",
        "data.source.held_out=0.3",
        "data.batch_size=12",
        "trainer.max_epochs=2",
        "trainer.check_val_every_n_epoch=1",
        "~callbacks.progress",
        f"run_dir={tmp_path}",
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=overrides)
    run(cfg, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    names = {"test/peak_height_ratio", "test/curves_ratio", "test/latent_order", "test/latent_order_shuffled"}
    assert names <= set(result["measures"])
    pictures = {path.stem for path in (tmp_path / "run" / "figures").glob("*.png")}
    assert pictures == {"curves", "curves_over_p", "extrapolation", "latent"}
    model = CVAE.load(tmp_path / "run" / result["checkpoint"])
    assert isinstance(model.task, LightCurves)
    # two epochs teach nothing, but curves for any p have to come out
    found = generate(model, model.task, model.task.conditions([0.01, 0.5, 5]), Plan(draws=3))
    assert found.x.shape == (3, 3, 32)
    assert bool(torch.isfinite(found.x).all())
