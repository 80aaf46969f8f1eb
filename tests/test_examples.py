"""What lies in ``examples/``: the notebook runs, and the files are what they are said to be."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

import cvae
from cvae.data.files import read_conditions, read_pairs
from cvae.tasks import Problem

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
#: makes the trainings of the notebook last a second
SHORT = {
    "data.source.train": 64,
    "data.source.validation": 16,
    "data.source.test": 16,
    "data.batch_size": 32,
    "data.evaluation.validation": 2,
    "data.evaluation.test": 2,
    "trainer.max_epochs": 1,
    "callbacks.figures": None,
}


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook, in a folder of its own beside the curve that it reads."""
    monkeypatch.setenv("CVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLES / "y.csv", tmp_path)
    found = nbformat.read(EXAMPLES / "first_steps.ipynb", as_version=4)
    nbformat.validate(found)
    return found


def test_the_cells_of_the_notebook_run(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = cvae.fit
    monkeypatch.setattr(cvae, "fit", lambda overrides: fit({**overrides, **SHORT}), raising=False)
    names: dict[str, Any] = {}
    with matplotlib.rc_context():
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(cell.source.replace("%matplotlib inline", ""), names)
    assert names["same"]
    assert names["chosen"].x.shape == (1, 30, 2, 50)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom_and_reaches_what_it_shows(notebook: Any, tmp_path: Path) -> None:
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3
    text = "".join(output.get("text", "") for output in shown)
    assert float(text.split("test/valid")[1].split()[0]) > 0.9
    assert "select" in text


def test_the_curve_is_a_product_of_lines(problem: Callable[..., Problem]) -> None:
    y = read_conditions(EXAMPLES / "y.csv", problem())
    t = np.linspace(0, 1, 50)
    assert y.shape == (1, 1, 50)
    assert y[0, 0].numpy() == pytest.approx((0.9 - 0.5 * t) * (0.2 + 0.6 * t), abs=1e-6)


def test_the_pairs_are_what_a_training_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    x, y = read_pairs(EXAMPLES / "pairs.npz")
    assert torch.allclose(y, torch.stack([x.square().sum(1), x.prod(1)], 1), atol=1e-5)
    words = ["data=vector_file", f"data.source.train={EXAMPLES / 'pairs.npz'}", "data.bounds=[[-2,2],[-2,2]]"]
    words += ['data.forward=["x0**2 + x1**2", "x0*x1"]', "data.gates.rmse=0.05", "debug=fast_dev_run"]
    run = cvae.fit([*words, "data.evaluation={validation: 2, test: 2, references: 0}"])
    assert run.config["data"]["source"]["train"] == str(EXAMPLES / "pairs.npz")


@pytest.mark.parametrize(
    ("name", "x_shape", "y_shape"), [("harmonic_mean", (3, 2, 50), (3, 1, 50)), ("throw", (3, 2), (3, 1))]
)
def test_the_functions_are_forward_operators(
    monkeypatch: pytest.MonkeyPatch, name: str, x_shape: tuple[int, ...], y_shape: tuple[int, ...]
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    x = torch.rand(x_shape, requires_grad=True)
    y = getattr(importlib.import_module("my_functions"), name)(x)
    assert y.shape == y_shape
    assert bool(torch.autograd.grad(y.sum(), x)[0].isfinite().all())


def test_a_ball_flies_as_far_at_30_as_at_60_degrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    throw = importlib.import_module("my_functions").throw
    low, high = throw(torch.tensor([[10.0, 30.0], [10.0, 60.0]]))
    assert float(low) == pytest.approx(float(high)) == pytest.approx(10**2 * 3**0.5 / 2 / 9.81)
