"""The command line that writes a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvae.challenge.submit import BUNDLE
from cvae.data.files import load_plain

Run = Callable[..., Any]


@pytest.fixture
def conditions(work: Path) -> Path:
    """Three observed curves in the challenge's layout."""
    t = torch.linspace(0, 1, 50)
    y = torch.stack([(0.9 - 0.5 * t) * (0.2 + slope * t) for slope in (0.2, 0.4, 0.6)])
    torch.save(y.reshape(3, 1, 50, 1), work / "y.pt")
    return work / "y.pt"


def test_a_bundle_and_its_score(conditions: Path, checkpoint: Path, work: Path, run_script: Run) -> None:
    done = run_script("submit", f"checkpoint={checkpoint}", "conditions=y.pt", "out=bundle")
    assert done.status == 0, done.err
    assert sorted(path.name for path in (work / "bundle").iterdir()) == sorted(BUNDLE)
    assert sorted(path.name for path in work.iterdir()) == ["bundle", "y.pt"]
    assert load_plain(work / "bundle" / "result.pt").tensors[0].shape == (90, 1, 50, 2)
    content = json.loads(done.out.splitlines()[-1])
    assert (content["conditions"], content["draws"]) == (3, 30)
    again = run_script("score", "file=bundle/result.pt")
    assert json.loads(again.out.splitlines()[-1]) == content


def test_vectors(vector_checkpoint: Path, work: Path, run_script: Run) -> None:
    np.savetxt(work / "y.csv", np.array([[0.3], [0.6]]))
    words = [f"checkpoint={vector_checkpoint}", "conditions=y.csv", "out=bundle", "draws=4"]
    done = run_script("submit", *words)
    assert done.status == 0, done.err
    x, y = load_plain(work / "bundle" / "result.pt").tensors
    assert (x.shape, y[:, 0].tolist()) == ((8, 2), pytest.approx([0.3] * 4 + [0.6] * 4))
    again = run_script("score", "file=bundle/result.pt", "data=sine_wave", "draws=4")
    assert json.loads(again.out.splitlines()[-1]) == json.loads(done.out.splitlines()[-1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["conditions=y.pt", "out=bundle"], "checkpoint is missing"),
        (["checkpoint=CKPT", "conditions=bad.npy", "out=bundle"], "bad.npy: 1 of 1 conditions hold values"),
        (["checkpoint=CKPT", "conditions=y.pt", "out=."], "is no bundle"),
        (["checkpoint=CKPT", "conditions=y.pt", "out=bad.npy"], "which is a file"),
        (["checkpoint=CKPT", "conditions=y.pt", "out=bad.npy/bundle"], "out is bad.npy/bundle/result.pt, but "),
    ],
)
def test_what_a_user_can_mend_is_one_message(
    conditions: Path, checkpoint: Path, work: Path, run_script: Run, words: list[str], message: str
) -> None:
    np.save(work / "bad.npy", np.full(50, np.nan))
    done = run_script("submit", *(word.replace("CKPT", str(checkpoint)) for word in words))
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert message in done.err
    assert sorted(path.name for path in work.iterdir()) == ["bad.npy", "y.pt"]


def test_an_energy_model_is_refused(
    shipped: Callable[..., Any], save_checkpoint: Callable[..., Path], conditions: Path, work: Path, run_script: Run
) -> None:
    checkpoint = save_checkpoint(shipped("experiment=swiss_roll", small=("~callbacks.progress",)))
    done = run_script("submit", f"checkpoint={checkpoint}", "conditions=y.pt", "out=bundle")
    assert done.status != 0
    assert "its loss is that of EnergyModel, but a model of the kind CVAE is needed here" in done.err
    assert not (work / "bundle").exists()


@pytest.mark.usefixtures("conditions", "full_disk")
def test_a_full_disk_is_one_message_and_leaves_nothing(checkpoint: Path, work: Path, run_script: Run) -> None:
    done = run_script("submit", f"checkpoint={checkpoint}", "conditions=y.pt", "out=bundle")
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("error: bundle: the disk is full")
    assert [path.name for path in work.iterdir()] == ["y.pt"]
