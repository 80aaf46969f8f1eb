"""The command line of the search."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cvae

Run = Callable[..., Any]
WORDS = ("study=s", "trials=1", "overrides=['data.source.train=64','data.source.validation=16','data.source.test=16']")


def test_a_mistake_gives_one_message_and_leaves_nothing(
    work: Path, run_script: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVAE_CACHE", str(work / "cache"))
    done = run_script("tune", *WORDS, "search.metric=val/luck")
    assert done.status == 1
    assert done.err.startswith("error: search.metric names 'val/luck', which is not measured; choose from")
    assert done.err.count("\n") == 1
    assert not (work / "outputs").exists()


def test_without_optuna_the_extra_is_named(work: Path, run_script: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(cvae, "search"):
        # put back with the modules: an import sets it on the package
        monkeypatch.setattr(cvae, "search", cvae.search)
    for name in [name for name in sys.modules if name.startswith("cvae.search")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = run_script("tune", *WORDS)
    assert done.status == 1
    assert done.err == "error: the search needs Optuna: pip install -e '.[search]'.\n"


@pytest.mark.parametrize(("word", "message"), [("study=a/b", "study is 'a/b'"), ("seed=-1", "seed is -1")])
def test_options_that_make_no_sense_are_refused(
    work: Path, run_script: Run, monkeypatch: pytest.MonkeyPatch, word: str, message: str
) -> None:
    monkeypatch.setenv("CVAE_CACHE", str(work / "cache"))
    done = run_script("tune", *WORDS, word)
    assert done.status == 1
    assert message in done.err
    assert not (work / "outputs").exists()
