"""Which checkpoint a run goes on from, whatever became of its files."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback

from cvae import archives
from cvae.errors import UserError
from cvae.models.checkpoints import CheckpointError, read_content
from cvae.runs.checkpoint_checks import Expected
from cvae.runs.checkpoint_files import WholeCheckpoints, resumable
from cvae.runs.compose import compose
from cvae.runs.continuation import KEY, versions
from cvae.runs.folder import Start, identify
from cvae.runs.launch import run
from cvae.runs.settle import settle
from cvae.runs.train import build, build_callbacks, settings_of
from tests.conftest import SMALL

WORDS = (
    *SMALL, "trainer.max_epochs=3", "model=dense", "model.hidden=[8]", "recipe.separate=false", "recipe.y_term=true",
    "data.evaluation.references=0", "callbacks=early_stopping", "callbacks.figures=null", "logger.tensorboard=null",
    "test=false",
)  # fmt: skip

BIAS = "network.encoder.out.bias"
Changed = Callable[[Callable[[dict[str, Any]], Any]], Path]


class PowerCut(Callback):
    """Ends the third epoch before it begins; the checkpoint after the first one is kept as ``first``."""

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        folder = Path(trainer.default_root_dir)
        if trainer.current_epoch == 1:
            shutil.copy(folder / "checkpoints" / "last.ckpt", folder / "first")
        if trainer.current_epoch == 2:
            raise RuntimeError("power cut")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted after two of three epochs."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(RuntimeError, match="power cut"):
        run(compose("train", [*WORDS, f"data.cache={folder}"]), folder / "run", callbacks=[PowerCut()])
    return folder / "run"


@pytest.fixture(scope="module")
def expected(interrupted: Path) -> Expected:
    """What fits its checkpoints."""
    cfg = settle(compose("train", [*WORDS, f"data.cache={interrupted.parent}"]))
    model = build(cfg)[1]
    return Expected(identify(settings_of(cfg)), model, build_callbacks(cfg, interrupted), cfg.trainer.max_epochs)


@pytest.fixture
def last(interrupted: Path, tmp_path: Path) -> Path:
    """The last checkpoint of a copy of the run."""
    return shutil.copytree(interrupted / "checkpoints", tmp_path / "run" / "checkpoints") / "last.ckpt"


@pytest.fixture
def changed(last: Path) -> Changed:
    """Writes the last checkpoint again with some change."""

    def write(change: Callable[[dict[str, Any]], Any]) -> Path:
        content = torch.load(last, weights_only=True)
        change(content)
        torch.save(content, last)
        return last

    return write


def goes_on(last: Path, expected: Expected) -> str | None:
    """The name of the checkpoint that the run of ``last`` goes on from."""
    found = resumable(last.parents[1], expected).checkpoint
    return None if found is None else found.name


def test_a_run_goes_on_from_its_last_checkpoint(last: Path, expected: Expected, caplog: Any) -> None:
    assert resumable(last.parents[1], expected) == Start(expected.run, last, 4, {"CSVLogger": "csv"})
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_checkpoint_that_is_cut_short_is_set_aside(last: Path, expected: Expected, share: float, caplog: Any) -> None:
    content = last.read_bytes()
    cut = content[: int(share * len(content))]
    last.write_bytes(cut)
    assert goes_on(last, expected) == "best.ckpt"
    assert f"It is set aside as {last.parents[1]}/last.ckpt.damaged." in caplog.text
    assert (last.parents[1] / "last.ckpt.damaged").read_bytes() == cut
    assert not last.exists()


def test_a_run_without_a_whole_checkpoint_starts_anew(last: Path, expected: Expected, caplog: Any) -> None:
    for path in (last, last.with_name("best.ckpt")):
        path.write_bytes(path.read_bytes()[:1000])
    run_dir = last.parents[1]
    (run_dir / "csv").mkdir()
    assert resumable(run_dir, expected) == Start(expected.run)
    assert "none of its checkpoints is whole; the run starts anew" in caplog.text
    # nothing is lost
    kept = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*")}
    assert kept == {
        "last.ckpt.damaged", "aside-1", "aside-1/csv", "aside-1/checkpoints", "aside-1/checkpoints/best.ckpt"
    }  # fmt: skip


def test_a_folder_without_checkpoints_gives_none(tmp_path: Path, expected: Expected, caplog: Any) -> None:
    assert resumable(tmp_path, expected) == Start(expected.run)
    assert not caplog.records


def test_the_newest_of_the_others_is_taken(interrupted: Path, last: Path, expected: Expected) -> None:
    last.rename(last.with_name("b.ckpt"))
    for name in ("a", "best", "c"):
        shutil.copy(interrupted / "first", last.with_name(f"{name}.ckpt"))
    assert goes_on(last, expected) == "b.ckpt"


def test_of_the_others_those_that_do_not_fit_are_left_alone(
    interrupted: Path, last: Path, expected: Expected, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights alone, and a checkpoint of another run."""
    content = torch.load(last, weights_only=True)
    weights = {name: content[name] for name in ("state_dict", "cvae", "epoch", "global_step")}
    torch.save(weights, last.with_name("weights.ckpt"))
    torch.save(content | {KEY: content[KEY] | {"run": "another"}}, last.with_name("stray.ckpt"))
    last.with_name("sharded.ckpt").mkdir()
    last.unlink()
    before = sorted(last.parent.iterdir())
    assert goes_on(last, expected) == "best.ckpt"
    assert sorted(last.parent.iterdir()) == before
    assert caplog.text.count("It is passed over.") == 2


def test_a_best_checkpoint_that_is_lost_with_the_last_one_is_told(
    last: Path, expected: Expected, caplog: pytest.LogCaptureFixture
) -> None:
    last.rename(last.with_name("step.ckpt"))
    last.with_name("best.ckpt").write_bytes(b"damaged")
    assert goes_on(last, expected) == "step.ckpt"
    assert "best.ckpt: is gone or set aside, and the best epoch up to now is lost with it." in caplog.text


def test_temporary_files_are_no_checkpoints(interrupted: Path, last: Path, expected: Expected, caplog: Any) -> None:
    """What a killed writer left is removed, whole or not; what has another name stays."""
    for name in (f".last.{'0a' * 8}.ckpt", f".{'0a' * 8}.ckpt"):
        shutil.copy(last, last.with_name(name))
    last.with_name(f".best.{'0b' * 8}.ckpt").write_bytes(b"half")
    last.with_name(".mine.ckpt").write_bytes(b"half")
    shutil.copy(interrupted / "first", last.with_name("best.ckpt"))
    last.unlink()
    assert goes_on(last, expected) == "best.ckpt"
    assert sorted(path.name for path in last.parent.iterdir()) == [".mine.ckpt", "best.ckpt"]
    assert not caplog.records


def test_a_folder_in_the_place_of_the_last_one_is_refused(last: Path, expected: Expected) -> None:
    last.unlink()
    last.mkdir()
    with pytest.raises(UserError, match=r"last\.ckpt: is a folder, but a run needs a plain file there\. Remove it, or"):
        resumable(last.parents[1], expected)


def test_no_flipped_bit_changes_what_is_loaded(last: Path, expected: Expected) -> None:
    whole, content, generator = torch.load(last, weights_only=True), last.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(40):
        place, bit = generator.randrange(len(content)), generator.randrange(8)
        last.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        try:
            found = read_content(last)
        except CheckpointError:
            refused += 1
            continue
        # in the space between the entries
        assert archives.load(last)["state_dict"].keys() == whole["state_dict"].keys()
        assert all(torch.equal(value, whole["state_dict"][name]) for name, value in found["state_dict"].items())
    assert refused > 20


def first(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return next(iter(tensors.values()))


def group(content: dict[str, Any]) -> dict[str, Any]:
    return content["optimizer_states"][0]["param_groups"][0]


def kept(content: dict[str, Any]) -> dict[str, Any]:
    return next(state for name, state in content["callbacks"].items() if name.startswith("BestCheckpoint"))


def state(content: dict[str, Any]) -> dict[str, Any]:
    return content["optimizer_states"][0]["state"]


WRONG = {
    "a weight is nan": lambda content: first(content["state_dict"]).view(-1)[0].fill_(torch.nan),
    "a weight is missing": lambda content: content["state_dict"].popitem(),
    "a weight has another shape": lambda content: content["state_dict"].update({BIAS: torch.ones(9)}),
    "no optimizer": lambda content: content.update(optimizer_states=[]),
    "an optimizer without a state": lambda content: content["optimizer_states"][0].update(state={}),
    "no state of one parameter": lambda content: state(content).pop(0),
    "a state of another shape": lambda content: state(content)[0].update(exp_avg=torch.ones(2)),
    "a state that is infinite": lambda content: state(content)[0]["exp_avg_sq"].fill_(torch.inf),
    "a state without a part": lambda content: state(content)[0].pop("exp_avg"),
    "lr is nan": lambda content: group(content).update(lr=float("nan")),
    "lr is negative": lambda content: group(content).update(lr=-1e-3),
    "lr is not that of the schedule": lambda content: group(content).update(lr=0.5),
    "lr is another from the start": lambda content: group(content).update(initial_lr=0.5),
    "lr is a text": lambda content: group(content).update(lr="large"),
    "other betas": lambda content: group(content).update(betas=(0.5, 0.5)),
    "no schedule": lambda content: content.update(lr_schedulers=[]),
    "a schedule at another step": lambda content: content["lr_schedulers"][0].update(last_epoch=1),
    "epoch is a text": lambda content: content.update(epoch="two"),
    "epoch is true": lambda content: content.update(epoch=True),
    "epoch is another": lambda content: content.update(epoch=0),
    "another step": lambda content: content.update(global_step=7),
    "no loops": lambda content: content.pop("loops"),
    "no progress of the validation": lambda content: content["loops"]["validate_loop"].pop("batch_progress"),
    "no progress of the epochs": lambda content: content["loops"]["fit_loop"]["epoch_progress"].clear(),
    "no callbacks": lambda content: content.pop("callbacks"),
    "no state of a callback": lambda content: content["callbacks"].pop("CollapseWarning"),
    "half a state of a callback": lambda content: content["callbacks"]["CollapseWarning"].pop("below"),
    "a score that is a text": lambda content: kept(content).update(kth_value="high"),
    "scores": lambda content: kept(content).update(best_model_score=torch.ones(2)),
    "the worst is not among the best": lambda content: kept(content).update(kth_best_model_path=""),
    "nothing of what was measured": lambda content: content[KEY].pop("measures"),
    "a measure that is a text": lambda content: content[KEY]["measures"].update({"val/score": "high"}),
    "seconds that are a text": lambda content: content[KEY].update(fit_s="long"),
    "an old version": lambda content: content.update({"pytorch-lightning_version": "0.9"}),
    "no version": lambda content: content.update({"pytorch-lightning_version": "new"}),
    "not of a run": lambda content: content[KEY].pop("run"),
    "a list": lambda content: content.update({KEY: []}),
    "weights alone": lambda content: [content.pop(name) for name in ("epoch", "optimizer_states", "callbacks", KEY)],
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_checkpoint_that_is_wrong_is_set_aside(
    changed: Changed, expected: Expected, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    last = changed(WRONG[wrong])
    assert goes_on(last, expected) == "best.ckpt"
    assert f"{last}: " in caplog.text
    assert "It is set aside as" in caplog.text


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (versions() | {"lightning": "9.0"}, f"lightning 9.0 there and {versions()['lightning']} here"),
        ("abc", f"torch not named there and {versions()['torch']} here"),
        (None, f"torch not named there and {versions()['torch']} here"),
    ],
)
def test_what_other_versions_wrote_and_does_not_fit_is_refused_and_stays(
    changed: Changed, expected: Expected, there: object, told: str
) -> None:
    """Entries that another version of Lightning names otherwise are no damage."""

    def change(content: dict[str, Any]) -> None:
        content["loops"]["fit_loop"]["renamed"] = content["loops"]["fit_loop"].pop("epoch_progress")
        content[KEY]["versions"] = there

    last = changed(change)
    before = {path: path.read_bytes() for path in last.parent.iterdir()}
    with pytest.raises(UserError, match=r"last\.ckpt: lacks loops\.fit_loop\.epoch_progress") as refused:
        resumable(last.parents[1], expected)
    assert f"{told}" in str(refused.value)
    assert "move it away to begin anew" in str(refused.value)
    assert {path: path.read_bytes() for path in last.parent.iterdir()} == before


def test_what_other_versions_wrote_and_fits_goes_on(changed: Changed, expected: Expected) -> None:
    last = changed(lambda content: content[KEY].update(versions={"lightning": "9.0"}))
    assert goes_on(last, expected) == "last.ckpt"


def test_more_epochs_than_the_run_has_are_wrong(last: Path, expected: Expected) -> None:
    assert goes_on(last, Expected(expected.run, expected.model, expected.callbacks, 2)) == "last.ckpt"
    assert goes_on(last, Expected(expected.run, expected.model, expected.callbacks, 1)) is None


def test_a_checkpoint_of_another_run_is_refused_and_stays(changed: Changed, expected: Expected) -> None:
    last = changed(lambda content: content[KEY].update(run="another"))
    before = last.read_bytes()
    with pytest.raises(UserError, match=r"last\.ckpt: is a checkpoint of another run.*hydra\.run\.dir"):
        resumable(last.parents[1], expected)
    assert last.read_bytes() == before


def test_a_checkpoint_that_names_files_elsewhere_is_set_aside(
    changed: Changed, expected: Expected, caplog: pytest.LogCaptureFixture
) -> None:
    def change(content: dict[str, Any]) -> None:
        kept(content)["last_model_path"] = f"{kept(content)['dirpath']}/../../victim"

    assert goes_on(changed(change), expected) == "best.ckpt"
    assert "/../../victim' as one to keep, which lies outside. It is set aside" in caplog.text


def with_another_score(source: Path, path: Path) -> None:
    content = torch.load(source, weights_only=True)
    kept(content)["best_model_score"] += 1
    torch.save(content, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_a_best_checkpoint_that_is_lost_is_told_at_the_start(
    last: Path, expected: Expected, damage: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(last.with_name("best.ckpt"))
    assert goes_on(last, expected) == "last.ckpt"
    assert "best.ckpt: is gone or set aside, and the best epoch up to now is lost with it." in caplog.text
    assert not last.with_name("best.ckpt").exists()


def test_a_best_checkpoint_of_another_epoch_is_set_aside_whole_and_what_lies_there_stays(
    interrupted: Path, last: Path, expected: Expected, caplog: pytest.LogCaptureFixture
) -> None:
    best, aside = last.with_name("best.ckpt"), last.parents[1] / "best.ckpt.aside"
    with_another_score(interrupted / "first", best)
    content = best.read_bytes()
    aside.write_bytes(b"of an earlier time")
    assert goes_on(last, expected) == "last.ckpt"
    assert f"is of another epoch than the last one says. It is set aside as {aside}-2." in caplog.text
    assert aside.read_bytes() == b"of an earlier time"
    assert aside.with_name(f"{aside.name}-2").read_bytes() == content


@pytest.mark.parametrize("older", ["first", "checkpoints/last.ckpt"])
def test_a_best_checkpoint_that_was_written_after_the_last_one_stays(
    interrupted: Path, last: Path, expected: Expected, older: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A process was killed between the two; that epoch comes again."""
    with_another_score(last, last.with_name("best.ckpt"))
    shutil.copy(interrupted / older, last)
    assert goes_on(last, expected) == "last.ckpt"
    assert last.with_name("best.ckpt").exists()
    assert "best.ckpt" not in caplog.text


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error"), MemoryError()]
)
@pytest.mark.parametrize("function", ["zipfile.ZipFile.testzip", "torch.load"])
def test_one_that_cannot_be_read_now_is_not_taken_for_damaged(
    last: Path, expected: Expected, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise copy.copy(error)

    monkeypatch.setattr(function, fail)
    with pytest.raises(UserError, match=r"last\.ckpt: cannot be read now \((Permission|Input|it does not fit)"):
        resumable(last.parents[1], expected)
    assert last.exists()


def test_a_parameter_without_a_gradient_needs_no_state(last: Path, expected: Expected, changed: Changed) -> None:
    # the first that the optimizer counts: those that are no matrices come before the matrices
    name = next(name for name, value in expected.model.named_parameters() if value.dim() == 1)

    def change(content: dict[str, Any]) -> None:
        state(content).pop(0)
        content["state_dict"][name] = expected.model.state_dict()[name].clone()

    assert goes_on(changed(change), expected) == "last.ckpt"


def test_lightning_reads_no_damaged_checkpoint(last: Path) -> None:
    weights = WholeCheckpoints().load_checkpoint(last)["state_dict"]
    content = bytearray(last.read_bytes())
    content[content.index(first(weights).numpy().tobytes())] ^= 1
    last.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be loaded safely"):
        WholeCheckpoints().load_checkpoint(last)
