"""``python scripts/tune.py`` killed in the middle of a trial, and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from cvae.search.alive import DEFAULT, LOST
from cvae.search.storage import open_storage

ROOT = Path(__file__).resolve().parents[2]
FIXED = (
    "data.source.train=2000",
    "data.source.validation=16",
    "data.evaluation.validation=4",
    "data.evaluation.references=2",
    "generation.count=5",
    "trainer.max_epochs=5",
    "logger.tensorboard=null",
)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    overrides = "overrides=[" + ",".join(f"'{word}'" for word in FIXED) + "]"
    return [sys.executable, "scripts/tune.py", f"out={tmp_path}", "study=s", "trials=2", overrides]


def test_a_search_that_was_killed_goes_on_where_it_was(words: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CVAE_CACHE": str(tmp_path / "cache")}
    first = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    journal = tmp_path / "s" / "study.log"
    for _ in range(1200):
        # the first epoch of the first trial has been reported
        if journal.is_file() and '"intermediate_value":' in journal.read_text():
            break
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.kill()
    first.communicate()

    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "trial 0 was left behind by a process that is gone" in done.stdout
    study = optuna.load_study(study_name="s", storage=open_storage(tmp_path / "s", None))
    trials = study.get_trials()
    assert [trial.user_attrs.get(LOST, False) for trial in trials] == [True, False, False]
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert [trial.user_attrs.get(DEFAULT, False) for trial in trials] == [True, True, False]
    assert trials[0].params == trials[1].params
    assert (tmp_path / "s" / "trials.csv").is_file()
