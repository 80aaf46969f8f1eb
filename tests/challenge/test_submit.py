"""A bundle holds what the challenge wants, stands alone, and is written whole or not at all."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae import CVAE
from cvae.challenge import submit
from cvae.challenge.submit import BUNDLE, write_bundle
from cvae.data import simulate
from cvae.data.files import load_plain
from cvae.errors import UserError
from cvae.generation import Plan, generate
from cvae.tasks import Problem

PLAN = Plan(draws=30, seed=3)

#: one of each network, with each head, for lines and for vectors, and with each noise and divergence
NETWORKS = {
    "dense": ["model=dense", "model.hidden=[16]", "model/head=values"],
    "deep": ["model=deep", "model.width=16", "model.blocks=2", "data=two_birds", "model/latent=[uniform,mmd]"],
    "film": ["model=film", "model.hidden=[16]", "model.width=8"],
    "starter": ["experiment=starter"],
    "mixture": ["model=mixture", "model.width=16", "model.blocks=1", "model.components=9", "data=two_birds"],
    "vectors": [
        "model=dense", "model.hidden=[16]", "data=sine_wave", "model/latent=[student_t,sliced_wasserstein]",
    ],
    "mixture of vectors": [
        "model=mixture", "model.width=16", "model.blocks=1", "model.components=9", "data=sine_wave",
        "data.forward=['x0 + x1', 'x0 * x1']",
    ],
    "branches": ["model=branches", "model.hidden=[16]", "model.components=9", "data=sine_wave"],
}  # fmt: skip
Make = Callable[..., CVAE]

# run in the bundle's folder: torch, yaml and the standard library are all that can be imported
ALONE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in {"cvae", "lightning", "hydra", "omegaconf", "torchmetrics", "rich", "scipy", "numpy"}:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
try:
    import cvae
except ImportError:
    pass
else:
    raise SystemExit("cvae can be imported; this would prove nothing")
import warnings
warnings.filterwarnings("ignore", message=".*[Nn]um[Pp]y.*")
import torch
sys.path.insert(0, ".")
import CVAE_architecture as bundle
from pathlib import Path

parameters = bundle.read_parameters(Path("."))
network = bundle.load_network(parameters, bundle.TARGETS)
with torch.serialization.safe_globals([torch.utils.data.TensorDataset]):
    x, y = torch.load("result.pt", weights_only=True).tensors
shape = parameters["y_shape"]
y = y[:, 0].transpose(1, 2) if y.dim() == 4 else y.reshape(len(y), *shape)
drawn = bundle.draw(network, y[:: parameters["sampling"]["draws"]], **parameters["sampling"]).flatten(0, 1)
x = x[:, 0].transpose(1, 2) if x.dim() == 4 else x
assert drawn.shape == x.shape
assert torch.equal(drawn, x), (drawn - x).abs().max()
assert bundle.check_bundle(Path("."), bundle.TARGETS) == 0
assert not {"cvae", "lightning", "numpy"} & sys.modules.keys()
print("reproduced", len(x))
"""


@pytest.fixture
def unrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out that a bundle's file is run when it is written, which takes seconds."""
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(submit, "subprocess", SimpleNamespace(run=lambda *args, **options: done))


def some_y(problem: Problem, count: int = 4) -> Tensor:
    return simulate(problem, count, torch.Generator().manual_seed(5)).y


def run_alone(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", ALONE]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_bundle_from_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    model = CVAE.load(checkpoint)
    y = some_y(model.problem)
    scores = write_bundle(model, y, PLAN, tmp_path / "bundle", checkpoint)

    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == sorted(BUNDLE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "run"]
    result = load_plain(tmp_path / "bundle" / "result.pt")
    assert isinstance(result, TensorDataset)
    x, rows = result.tensors
    assert x.shape == (4 * 30, 1, 50, 2)
    assert torch.equal(rows, y[:, 0].repeat_interleave(30, 0))
    solutions = generate(model, model.problem, y, PLAN)
    assert torch.equal(x[:, 0].transpose(1, 2), solutions.x.flatten(0, 1))
    assert (scores.conditions, scores.draws) == (4, 30)
    assert scores.measures["valid"] == pytest.approx(float(solutions.check.valid.float().mean()))

    done = run_alone(tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "reproduced 120"


@pytest.mark.usefixtures("unrun")
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_stands_alone(network: str, untrained: Make, tmp_path: Path) -> None:
    model = untrained(*NETWORKS[network])
    write_bundle(model, some_y(model.problem), PLAN, tmp_path / "bundle", tmp_path / "none.ckpt")
    source = (tmp_path / "bundle" / "CVAE_architecture.py").read_text()
    assert "import cvae" not in source
    assert "from cvae" not in source
    done = run_alone(tmp_path / "bundle")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("unrun")
@pytest.mark.parametrize(
    ("network", "x_shape", "y_shape"),
    [("deep", (10, 1, 50, 2), (10, 1, 50, 2)), ("mixture of vectors", (10, 2), (10, 2))],
)
def test_several_conditions_in_the_layout_of_the_challenge(
    network: str, x_shape: tuple[int, ...], y_shape: tuple[int, ...], untrained: Make, tmp_path: Path
) -> None:
    model = untrained(*NETWORKS[network])
    y = some_y(model.problem, 2)
    write_bundle(model, y, Plan(draws=5), tmp_path / "bundle", tmp_path / "none.ckpt")
    x, rows = load_plain(tmp_path / "bundle" / "result.pt").tensors
    assert (x.shape, rows.shape) == (x_shape, y_shape)
    assert torch.equal(rows[:, 0].transpose(1, 2) if rows.dim() == 4 else rows, y.repeat_interleave(5, 0))


@pytest.mark.parametrize(
    ("plan", "stage"),
    [(Plan(draws=5, candidates=12, refine_steps=3), "select"), (Plan(draws=5, oversample=3), "oversample")],
)
def test_draws_that_are_not_plain_are_marked_and_the_file_still_works(
    untrained: Make, tmp_path: Path, plan: Plan, stage: str
) -> None:
    model = untrained(*NETWORKS["vectors"])
    write_bundle(model, some_y(model.problem, 2), plan, tmp_path / "bundle", tmp_path / "none.ckpt")
    parameters = yaml.safe_load((tmp_path / "bundle" / "model_parameters.yaml").read_text())
    assert (parameters["format"], parameters["stage"]) == (2, stage)
    assert parameters["generation"] == dataclasses.asdict(plan)


@pytest.mark.usefixtures("unrun")
def test_a_folder_that_is_no_bundle_is_left_alone(untrained: Make, tmp_path: Path) -> None:
    model, out = untrained(*NETWORKS["dense"]), tmp_path / "out"
    y = some_y(model.problem, 1)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'notes\.txt' and is no bundle.*force=true"):
        write_bundle(model, y, PLAN, out, tmp_path / "none.ckpt")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    with pytest.raises(UserError, match="which is a file"):
        write_bundle(model, y, PLAN, out / "notes.txt", tmp_path / "none.ckpt")
    write_bundle(model, y, PLAN, out, tmp_path / "none.ckpt", force=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == sorted([*BUNDLE, "notes.txt"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("unrun")
def test_a_bundle_is_replaced(untrained: Make, tmp_path: Path) -> None:
    model = untrained(*NETWORKS["dense"])
    for count in (1, 2):
        write_bundle(model, some_y(model.problem, count), PLAN, tmp_path / "out", tmp_path / "none.ckpt")
        assert len(load_plain(tmp_path / "out" / "result.pt")) == 30 * count


Break = Callable[[pytest.MonkeyPatch], None]


def wrong_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    original = submit.parameters

    def shifted(*args: object, **options: object) -> dict[str, object]:
        content = original(*args, **options)  # type: ignore[arg-type]
        content["sampling"]["seed"] += 1
        return content

    monkeypatch.setattr(submit, "parameters", shifted)


def wrong_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "architecture", lambda model: "raise RuntimeError('broken')")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_weights, "does not make the draws of result.pt again"),
        (wrong_code, "RuntimeError: broken"),
    ],
)
def test_a_bundle_that_is_wrong_is_not_put_in_place(
    spoil: Break, message: str, untrained: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = untrained(*NETWORKS["dense"])
    spoil(monkeypatch)
    with pytest.raises(ValueError, match=message):
        write_bundle(model, some_y(model.problem, 1), PLAN, tmp_path / "out", tmp_path / "none.ckpt")
    assert list(tmp_path.iterdir()) == []
