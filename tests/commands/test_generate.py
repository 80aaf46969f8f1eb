"""The command line that generates solutions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from cvae import CVAE
from cvae.seeds import Purpose, stream

Run = Callable[..., Any]


@pytest.fixture
def curves(work: Path) -> np.ndarray:
    """Two observed curves in ``y.csv``."""
    t = np.linspace(0, 1, 50)
    y = np.stack([(0.9 - 0.5 * t) * (0.2 + 0.6 * t), (0.5 - 0.1 * t) * (0.5 + 0.1 * t)])
    np.savetxt(work / "y.csv", y, delimiter=",")
    return y


def test_solutions_with_their_misfit_straightness_and_validity(
    curves: np.ndarray, checkpoint: Path, work: Path, run_script: Run
) -> None:
    words = [f"checkpoint={checkpoint}", "condition=y.csv", "draws=40", "seed=2"]
    done = run_script("generate", *words, "out=new/x.npz")
    assert done.status == 0, done.err
    with np.load(work / "new" / "x.npz", allow_pickle=False) as arrays:
        found = dict(arrays)
    assert found["x"].shape == (2, 40, 2, 50)
    assert found["y"][:, 0] == pytest.approx(curves, abs=1e-6)
    misfit = np.sqrt(((found["x"][:, :, 0] * found["x"][:, :, 1] - curves[:, None]) ** 2).mean(-1))
    assert found["misfit"] == pytest.approx(misfit, abs=1e-5)
    straight = (found["straightness"] > 0.9).all(-1)
    assert (found["valid"] == (straight & (found["misfit"] < 0.05))).all()
    assert f"{found['valid'].sum()} of 80" in done.out
    assert sorted(path.name for path in work.iterdir()) == ["new", "y.csv"]

    drawn = CVAE.load(checkpoint).draw(torch.from_numpy(found["y"]), 40, stream(Purpose.GENERATION, 2))
    assert torch.equal(torch.from_numpy(found["x"]), drawn)
    assert run_script("generate", *words, "out=again.pt").status == 0
    assert torch.equal(torch.load(work / "again.pt", weights_only=True)["x"], drawn)


def test_other_gates_decide_what_is_valid_refined_and_told(
    curves: np.ndarray, checkpoint: Path, work: Path, run_script: Run
) -> None:
    words = [f"checkpoint={checkpoint}", "condition=y.csv", "draws=20", "gates.rmse=0.2", "gates.pearson=0.5"]
    done = run_script("generate", *words, "out=x.npz", "picture=x.png")
    assert done.status == 0, done.err
    assert "gate: misfit below 0.2" in done.out
    with np.load(work / "x.npz", allow_pickle=False) as arrays:
        plain = dict(arrays)
    assert plain["gate"] == np.float32(0.2)
    assert (plain["valid"] == ((plain["straightness"] > 0.5).all(-1) & (plain["misfit"] < 0.2))).all()
    assert ((plain["misfit"] < 0.2) & (plain["misfit"] > 0.05)).any()
    # refined to below the gate, not further
    done = run_script("generate", *words[:3], "gates.rmse=0.004", "generation.refine_steps=15", "out=y.npz")
    assert done.status == 0, done.err
    with np.load(work / "y.npz", allow_pickle=False) as arrays:
        assert (arrays["misfit"] < 0.004).mean() > 0.9


def test_positions_beside_a_curve_are_said(curves: np.ndarray, checkpoint: Path, work: Path, run_script: Run) -> None:
    table = np.stack([np.linspace(0, 1, 50), curves[0]], axis=1)
    np.savetxt(work / "t.csv", table, delimiter=",", header="t,y", comments="")
    done = run_script("generate", f"checkpoint={checkpoint}", "condition=t.csv", "draws=3", "out=x.npz")
    assert done.status == 0, done.err
    with np.load(work / "x.npz", allow_pickle=False) as arrays:
        assert arrays["y"].shape == (1, 1, 50)
        assert arrays["y"][0, 0] == pytest.approx(curves[0], abs=1e-6)


def test_stages_of_generation_can_be_asked_for(
    curves: np.ndarray, checkpoint: Path, work: Path, run_script: Run
) -> None:
    words = [f"checkpoint={checkpoint}", "condition=y.csv", "draws=5", "generation.refine_steps=15"]
    assert run_script("generate", *words, "out=x.npz").status == 0
    with np.load(work / "x.npz", allow_pickle=False) as arrays:
        assert arrays["valid"].mean() > 0.9


def test_vectors_for_simulated_conditions_with_pictures(vector_checkpoint: Path, work: Path, run_script: Run) -> None:
    words = [f"checkpoint={vector_checkpoint}", "unseen=2", "draws=6", "picture=new/picture.png"]
    done = run_script("generate", *words, "out=x.npz")
    assert done.status == 0, done.err
    with np.load(work / "x.npz", allow_pickle=False) as arrays:
        found = dict(arrays)
    assert (found["x"].shape, found["y"].shape) == ((2, 6, 2), (2, 1))
    misfit = np.abs(np.sin(3 * np.pi * found["x"][..., 0]) + np.cos(3 * np.pi * found["x"][..., 1]) - found["y"])
    assert found["misfit"] == pytest.approx(misfit, abs=1e-5)
    assert "straightness" not in found
    assert sorted(path.name for path in (work / "new").iterdir()) == ["picture.png", "picture_1.png", "picture_2.png"]
    assert "picture: new/picture.png, new/picture_1.png, new/picture_2.png" in done.out
    # the file of solutions is one of conditions as well
    assert run_script("generate", f"checkpoint={vector_checkpoint}", "condition=x.npz", "out=again.csv").status == 0
    assert len((work / "again.csv").read_text().splitlines()) == 1 + 2 * 30


@pytest.fixture
def digits_checkpoint(shipped: Callable[..., DictConfig], save_checkpoint: Callable[[DictConfig], Path]) -> Path:
    """An untrained model of digits of 8 x 8 pixels."""
    return save_checkpoint(shipped("experiment=digits", "model.hidden=[16]", "model.latent_dim=2", small=()))


def test_digits_of_a_number_are_one_picture(digits_checkpoint: Path, work: Path, run_script: Run) -> None:
    words = [f"checkpoint={digits_checkpoint}", "draws=3"]
    done = run_script("generate", *words, "number=2026", "out=new/2026.png")
    assert done.status == 0, done.err
    assert [path.name for path in (work / "new").iterdir()] == ["2026.png"]
    assert "picture: new/2026.png" in done.out
    # the same as arrays, and by its classes
    assert run_script("generate", *words, "number=2026", "out=one.npz", "picture=one.png").status == 0
    assert run_script("generate", *words, "condition=[2,0,2,6]", "out=two.pt").status == 0
    with np.load(work / "one.npz", allow_pickle=False) as arrays:
        one = dict(arrays)
    two = torch.load(work / "two.pt", weights_only=True)
    assert one["x"].shape == (4, 3, 8, 8)
    assert one["y"].argmax(1).tolist() == [2, 0, 2, 6]
    assert np.array_equal(one["x"], two["x"].numpy())
    assert (work / "one.png").read_bytes() == (work / "new" / "2026.png").read_bytes()


def test_a_number_may_begin_with_noughts(digits_checkpoint: Path, work: Path, run_script: Run) -> None:
    done = run_script("generate", f"checkpoint={digits_checkpoint}", "number=007", "draws=1", "out=x.npz")
    assert done.status == 0, done.err
    with np.load(work / "x.npz", allow_pickle=False) as arrays:
        assert arrays["y"].argmax(1).tolist() == [0, 0, 7]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["number=12x", "out=x.png"], "number is 12x; it must be made of the digits 0 to 9 alone"),
        (["number=-1", "out=x.png"], "number is -1"),
        (["condition=[3,12]", "out=x.png"], "the class 12 is unknown; a digit is one of 0, 1, ..., 9"),
        (["condition=many", "out=x.png"], "condition is 'many'; give a number or several"),
        (["out=x.png"], "name the digits: number=2026"),
        (
            ["number=1", "condition=1", "out=x.png"],
            "number is 1; it is for models of digits, and in place of condition",
        ),
        (["number=1", "out=x.csv"], "out is x.csv; for draws of this model it must end in .npz or .pt"),
        (["number=1", "gates.rmse=1", "out=x.png"], "gates needs a forward operator"),
        (["unseen=2", "out=x.png"], "unseen is 2, but this model has no forward operator"),
        (
            ["number=1", "generation=complete", "out=x.png"],
            "no forward operator f, and only solutions of f(x) = y are: use generation=default",
        ),
    ],
)
def test_what_a_user_of_digits_can_mend_is_one_message(
    digits_checkpoint: Path, work: Path, run_script: Run, words: list[str], message: str
) -> None:
    done = run_script("generate", f"checkpoint={digits_checkpoint}", *words)
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert message in done.err
    assert list(work.iterdir()) == []


def test_an_observation_that_nothing_explains_is_told_and_written(
    checkpoint: Path, work: Path, run_script: Run
) -> None:
    np.save(work / "y.npy", np.full(50, 9.0))
    done = run_script("generate", f"checkpoint={checkpoint}", "condition=y.npy", "out=x.csv", "draws=3")
    assert done.status == 0
    assert "no draw is valid" in done.out
    assert len((work / "x.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["condition=y.csv", "out=x.npz"], "checkpoint is missing"),
        (["checkpoint=none.ckpt", "condition=y.csv", "out=x.npz"], "none.ckpt: no such checkpoint"),
        (["checkpoint=y.csv", "condition=y.csv", "out=x.npz"], "cannot be loaded safely"),
        (["checkpoint=none.ckpt", "condition=y.csv", "out=x.txt"], "out is x.txt; it must end in"),
        (["checkpoint=CKPT", "condition=none.npy", "out=x.npz"], "none.npy: no such file"),
        (["checkpoint=CKPT", "condition=bad.npy", "out=x.npz"], "bad.npy: y has shape (3, 7); expected one of"),
        (["checkpoint=CKPT", "condition=y.csv", "out=x.npz", "draws=0"], "generation.draws is 0"),
        (["checkpoint=CKPT", "condition=y.csv", "out=x.npz", "draws=some"], "draws is 'some'; it must be a whole"),
        (["checkpoint=CKPT", "condition=y.csv", "out=x.npz", "picture=x.txt"], "picture is x.txt; it must end in"),
        (["checkpoint=none", "out=x.npz", "picture=y.csv/x.png"], "picture is y.csv/x.png, but "),
        (["checkpoint=none", "out=y.csv/x.npz", "unseen=1"], "out is y.csv/x.npz, but "),
        (["checkpoint=CKPT", "out=x.npz"], "condition=FILE, or ask for simulated ones, unseen=4"),
        (["checkpoint=CKPT", "number=2026", "out=x.npz"], "number is 2026; it is for models of digits"),
        (["checkpoint=CKPT", "condition=y.csv", "out=x.png"], "out is x.png; it must end in"),
        (["checkpoint=CKPT", "condition=y.csv", "unseen=2", "out=x.npz"], "condition=FILE, or ask for simulated"),
        (
            ["checkpoint=CKPT", "condition=y.csv", "out=x.npz", "allow=os.getcwd"],
            "allow is 'os.getcwd'; it must be a list",
        ),
        (["checkpoint=CKPT", "condition=y.csv", "out=x.npz", "generation.chunk=many"], "generation.chunk"),
        (["checkpoint=CKPT", "condition=y.csv", "out=x.npz", "+gates.r2=1"], "gates.r2 is 1, but this problem has no"),
        (["checkpoint=CKPT", "condition=y.csv", "out=x.npz", "gates.rmse=0"], "error: gates.rmse is 0.0; it must be p"),
        (["checkpoint=CKPT", "condition=y.csv", "unseen=-1", "out=x.npz"], "unseen is -1; it must be at least 0"),
        (["checkpoint=CKPT", "unseen=1.5", "out=x.npz"], "unseen is 1.5; it must be a whole number"),
        (["checkpoint=CKPT", "unseen=1", "out=null"], "out is None; it must be text"),
        (["checkpoint=CKPT", "unseen=1", "out=x.npz", "seed=-1"], "seed is -1; it must be a whole number from 0"),
        (["checkpoint=CKPT", "unseen=1", "out=x.npz", "gates.rmse=true"], "gates.rmse is True; it must be a number"),
        (["checkpoint=CKPT", "unseen=1", "out=x.npz", "generation=null"], "generation must name a member of conf/gen"),
        (["checkpoint=CKPT", "condition=y.csv", "out=x.npz", "gates=null"], "gates is None; it must be a mapping"),
        (["checkpoint=CKPT", "condition=y.csv", "out=x.npz", "gates=0.01"], "gates is 0.01; it must be a mapping"),
    ],
)
def test_what_a_user_can_mend_is_one_message(
    curves: np.ndarray, checkpoint: Path, work: Path, run_script: Run, words: list[str], message: str
) -> None:
    np.save(work / "bad.npy", np.zeros((3, 7)))
    done = run_script("generate", *(word.replace("CKPT", str(checkpoint)) for word in words))
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert message in done.err
    assert sorted(path.name for path in work.iterdir()) == ["bad.npy", "y.csv"]


def test_a_checkpoint_that_asks_for_foreign_code_is_refused(
    curves: np.ndarray, checkpoint: Path, work: Path, run_script: Run
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["cvae"]["config"]["task"]["forward"] = {"_target_": "os.getcwd"}
    torch.save(content, work / "foreign.ckpt")
    done = run_script("generate", "checkpoint=foreign.ckpt", "condition=y.csv", "out=x.npz")
    assert done.status == 1
    assert "os.getcwd" in done.err
    assert not (work / "x.npz").exists()


def test_points_of_an_energy_model(
    shipped: Callable[..., Any], save_checkpoint: Callable[..., Path], work: Path, run_script: Run
) -> None:
    words = ("experiment=swiss_roll", "evaluation.steps=3")
    checkpoint = save_checkpoint(shipped(*words, small=("~callbacks.progress",)))
    done = run_script("generate", f"checkpoint={checkpoint}", "draws=4", "out=x.npz", "picture=x.png")
    assert done.status == 0, done.err
    with np.load(work / "x.npz") as found:
        assert found["x"].shape == (1, 4, 2)
    assert (work / "x.png").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.npz"])
def test_a_full_disk_is_one_message(checkpoint: Path, work: Path, run_script: Run, full_disk: None, name: str) -> None:
    done = run_script("generate", f"checkpoint={checkpoint}", "unseen=2", "draws=3", f"out={name}")
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith(f"error: {name}: the disk is full")
    assert "Free some space and re-run the same command" in done.err
    assert "Errno" not in done.err
    assert list(work.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_one_message(checkpoint: Path, work: Path, run_script: Run) -> None:
    # root may write anywhere but there
    done = run_script("generate", f"checkpoint={checkpoint}", "unseen=2", "draws=3", "out=/proc/x.npz")
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("error: out is /proc/x.npz, but /proc cannot be written to (")
