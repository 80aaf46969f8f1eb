"""A bundle holds what the challenge wants, stands alone, and is written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae import CVAE
from cvae.challenge import submit
from cvae.challenge.cli import problem_from_config
from cvae.challenge.submit import BUNDLE, write_bundle
from cvae.data import simulate
from cvae.data.layout import load_plain
from cvae.generation import Plan
from cvae.problems import Problem
from cvae.training import build_model

ROOT = Path(__file__).resolve().parents[2]
PLAN = Plan(count=30, seed=3)

#: one of each network, with each head
NETWORKS = {
    "dense": ["model=dense", "model.hidden=[16]", "model/head=points"],
    "deep": ["model=deep", "model.width=16", "model.blocks=2", "data=two_birds"],
    "starter": ["experiment=starter"],
    "mixture": ["model=mixture", "model.width=16", "model.blocks=1", "model.components=9", "data=two_birds"],
}

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
settings = {name: value for name, value in parameters["draws"].items() if name != "stage"}
y = y.unsqueeze(1) if y.dim() == 2 else y[:, 0].transpose(1, 2)
drawn = bundle.plain_draws(network, y[:: settings["count"]], **settings)
assert drawn.flatten(0, 1).shape == x[:, 0].transpose(1, 2).shape
torch.testing.assert_close(drawn.flatten(0, 1), x[:, 0].transpose(1, 2), rtol=0, atol=1e-6)
assert bundle.check_bundle(Path("."), bundle.TARGETS) == 0
assert not {"cvae", "lightning", "numpy"} & sys.modules.keys()
print("reproduced", len(x))
"""


def untrained(network: str = "dense") -> CVAE:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=NETWORKS[network])
    problem = problem_from_config(cfg.data)
    model = build_model(cfg, problem.config).eval()
    data = simulate(problem, 200, torch.Generator().manual_seed(0))
    model.network.fit_scale(data.x, data.y)
    return model


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


def test_a_bundle_of_a_trained_model(checkpoint: Path, tmp_path: Path) -> None:
    model = CVAE.load(checkpoint)
    y = some_y(model.problem)
    scores = write_bundle(model, y, PLAN, tmp_path / "bundle", checkpoint)

    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == sorted(BUNDLE)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    result = load_plain(tmp_path / "bundle" / "result.pt")
    assert isinstance(result, TensorDataset)
    x, rows = result.tensors
    assert x.shape == (4 * 30, 1, 50, 2)
    assert torch.equal(rows, y[:, 0].repeat_interleave(30, 0))
    drawn = model.draw(y, 30, torch.Generator().manual_seed(3))
    assert torch.equal(x[:, 0].transpose(1, 2), drawn.flatten(0, 1))
    assert (scores.conditions, scores.draws) == (4, 30)
    assert scores.measures["valid"] == pytest.approx(float(model.problem.check(drawn, y).valid.float().mean()))

    done = run_alone(tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "reproduced 120"


@pytest.mark.usefixtures("unrun")
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_stands_alone(network: str, tmp_path: Path) -> None:
    model = untrained(network)
    write_bundle(model, some_y(model.problem), PLAN, tmp_path / "bundle", tmp_path / "none.ckpt")
    source = (tmp_path / "bundle" / "CVAE_architecture.py").read_text()
    assert "import cvae" not in source
    assert "from cvae" not in source
    done = run_alone(tmp_path / "bundle")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("unrun")
def test_several_conditions_in_the_layout_of_the_challenge(tmp_path: Path) -> None:
    model = untrained("deep")
    y = some_y(model.problem, 2)
    write_bundle(model, y, Plan(count=5), tmp_path / "bundle", tmp_path / "none.ckpt")
    x, rows = load_plain(tmp_path / "bundle" / "result.pt").tensors
    assert (x.shape, rows.shape) == ((10, 1, 50, 2), (10, 1, 50, 2))
    assert torch.equal(rows[:, 0].transpose(1, 2), y.repeat_interleave(5, 0))


def test_refined_draws_are_marked_and_the_file_still_works(tmp_path: Path) -> None:
    model = untrained()
    plan = Plan(count=5, pool=12, refine_steps=3)
    write_bundle(model, some_y(model.problem, 2), plan, tmp_path / "bundle", tmp_path / "none.ckpt")
    parameters = yaml.safe_load((tmp_path / "bundle" / "model_parameters.yaml").read_text())
    assert parameters["draws"]["stage"] == "select"
    assert parameters["generation"]["pool"] == 12


@pytest.mark.usefixtures("unrun")
def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    model, out = untrained(), tmp_path / "out"
    y = some_y(model.problem, 1)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds 'notes\.txt' and is no bundle.*force=true"):
        write_bundle(model, y, PLAN, out, tmp_path / "none.ckpt")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    with pytest.raises(FileExistsError, match="which is a file"):
        write_bundle(model, y, PLAN, out / "notes.txt", tmp_path / "none.ckpt")
    write_bundle(model, y, PLAN, out, tmp_path / "none.ckpt", force=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == sorted([*BUNDLE, "notes.txt"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("unrun")
def test_a_bundle_is_replaced(tmp_path: Path) -> None:
    model = untrained()
    for count in (1, 2):
        write_bundle(model, some_y(model.problem, count), PLAN, tmp_path / "out", tmp_path / "none.ckpt")
        assert len(load_plain(tmp_path / "out" / "result.pt")) == 30 * count


Break = Callable[[pytest.MonkeyPatch], None]


def wrong_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "to_challenge", lambda x: x)


def wrong_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    original = submit.parameters

    def shifted(*args: object) -> dict[str, object]:
        content = original(*args)  # type: ignore[arg-type]
        content["draws"]["seed"] += 1
        return content

    monkeypatch.setattr(submit, "parameters", shifted)


def wrong_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "architecture", lambda model: "raise RuntimeError('broken')")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_shape, r"x has shape \(30, 2, 50\); the challenge wants \(30, 1, 50, 2\)"),
        (wrong_weights, "does not make the draws of result.pt again"),
        (wrong_code, "RuntimeError: broken"),
    ],
)
def test_a_bundle_that_is_wrong_is_not_put_in_place(
    spoil: Break, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = untrained()
    spoil(monkeypatch)
    with pytest.raises(ValueError, match=message):
        write_bundle(model, some_y(model.problem, 1), PLAN, tmp_path / "out", tmp_path / "none.ckpt")
    assert list(tmp_path.iterdir()) == []
