"""Jobs of a sweep: failures that do not end the others, and a table at the end."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from cvae.errors import DivergedError
from cvae.runs import sweeps
from cvae.runs.folder import OwnLog, Start, mark_running
from cvae.runs.locks import FolderInUseError
from cvae.runs.sweeps import SweepReport, attempt


def test_a_failure_becomes_nan_and_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def job() -> float:
        raise RuntimeError("boom")

    assert math.isnan(attempt(job, tmp_path, ["seed=1"]))
    record = json.loads((tmp_path / "result.json").read_text())
    assert (record["status"], record["error"], record["overrides"]) == ("failed", "RuntimeError: boom", ["seed=1"])
    assert "the job seed=1 has failed" in caplog.text
    assert "Traceback" in caplog.text
    # a second failure replaces the first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "user_message", lambda error: "clear words")
        assert math.isnan(attempt(job, tmp_path, ["seed=1"]))
    assert json.loads((tmp_path / "result.json").read_text())["error"] == "clear words"
    assert attempt(lambda: 0.5, tmp_path, []) == 0.5


def test_a_failure_in_a_folder_that_holds_something_else_is_raised(tmp_path: Path) -> None:
    mark_running(tmp_path, Start("x"), {"seed": 1}, [])
    before = (tmp_path / "result.json").read_text()

    def job() -> float:
        raise FolderInUseError("somebody is working here")

    with pytest.raises(CompactHydraException, match="somebody is working here"):
        attempt(job, tmp_path, [])
    assert (tmp_path / "result.json").read_text() == before


def test_a_job_whose_folder_leads_out_of_the_sweep_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "sweep").mkdir()
    own = tmp_path / "sweep" / "seed=1"
    own.symlink_to(tmp_path / "victim")
    with pytest.raises(CompactHydraException, match="seed=1: is a link, but a run needs a folder there"):
        attempt(lambda: pytest.fail("the job was begun"), own, ["seed=1"])
    hydra = {"mode": RunMode.MULTIRUN, "sweep": {"dir": str(tmp_path / "sweep")}}
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": hydra})
    try:
        OwnLog(own / "train.log").close()
    finally:
        HydraConfig.instance().cfg = before
    assert list((tmp_path / "victim").iterdir()) == []


def hydra_config(folder: Path) -> Any:
    overrides = {"hydra": [], "task": ["model=dense,deep", "loss=mse", "seed=range(2)", "+data.prior=[1,2]"]}
    entries = {"run": {"dir": str(folder)}, "sweep": {"dir": str(folder)}, "overrides": overrides}
    return OmegaConf.create({"hydra": entries})


def record(folder: Path, **entries: Any) -> None:
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(entries))


def test_a_sweep_ends_with_a_table_and_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "a", status="finished", overrides=["seed=1"], measures={"val/score": 0.25},
           optimized_metric="val/score", config={}, duration_s=2)  # fmt: skip
    SweepReport().on_multirun_end(hydra_config(tmp_path))
    assert "0.25" in capsys.readouterr().out
    record(tmp_path / "b", status="failed", overrides=["seed=2"], error="boom")
    with pytest.raises(SystemExit, match="1 of 2 jobs failed; re-run the same command"):
        SweepReport().on_multirun_end(hydra_config(tmp_path))
    assert "failed: boom" in capsys.readouterr().out


def test_a_job_that_diverged_is_shown_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> float:
        raise DivergedError("not finite in step 3")

    assert math.isnan(attempt(job, tmp_path / "a", ["seed=1"]))
    assert math.isnan(attempt(job, tmp_path / "a", ["seed=1"]))
    with pytest.raises(SystemExit, match="1 of 1 jobs failed or diverged; re-run"):
        SweepReport().on_multirun_end(hydra_config(tmp_path))
    assert "a  diverged: not finite in step 3" in capsys.readouterr().out


def test_the_silence_of_a_first_import_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.delitem(sys.modules, "lightning", raising=False)
    SweepReport().on_job_start(OmegaConf.create())
    monkeypatch.setitem(sys.modules, "lightning", sys)
    SweepReport().on_job_start(OmegaConf.create())
    assert caplog.text.count("importing PyTorch and Lightning") == 1


def test_jobs_are_told_what_they_share(tmp_path: Path) -> None:
    config = hydra_config(tmp_path)
    OmegaConf.set_readonly(config, True)
    SweepReport().on_multirun_start(config)
    assert list(config.hydra.overrides.hydra) == [
        'hydra.job.config.override_dirname.exclude_keys=["loss", "data.prior"]'
    ]


@pytest.mark.parametrize("hook", ["on_run_start", "on_multirun_start"])
def test_a_folder_that_cannot_be_written_to_is_said_at_once(tmp_path: Path, hook: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"file/run: cannot be used \(Not a directory\).*hydra\.run\.dir=") as caught:
        getattr(SweepReport(), hook)(hydra_config(tmp_path / "file" / "run"))
    assert isinstance(caught.value.code, str)
    getattr(SweepReport(), hook)(hydra_config(tmp_path / "new" / "run"))
    assert list((tmp_path / "new" / "run").iterdir()) == []


@pytest.mark.parametrize("folder", ["", None])
def test_a_run_without_a_folder_of_its_own_is_refused(folder: str | None) -> None:
    entries = {"run": {"dir": folder}, "sweep": {"dir": folder}, "overrides": {"hydra": [], "task": []}}
    config = OmegaConf.create({"hydra": entries})
    with pytest.raises(SystemExit, match=r"hydra\.run\.dir is .*; it must name a folder, such as hydra\.run\.dir=outp"):
        SweepReport().on_run_start(config)
    with pytest.raises(SystemExit, match=r"hydra\.sweep\.dir is .*; it must name a folder"):
        SweepReport().on_multirun_start(config)
