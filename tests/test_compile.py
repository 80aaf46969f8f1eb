"""``trainer.compile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cvae import CVAE
from cvae.training import train


def test_a_compiled_training_keeps_the_names_of_the_weights(
    shipped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def compiler(function: Any, **options: Any) -> Any:
        def compiled(*args: Any) -> Any:
            calls.append(len(args[0]))
            return function(*args)

        return compiled

    # the compiler itself takes a minute; what matters here is what is compiled, and what a checkpoint holds
    monkeypatch.setattr(torch, "compile", compiler)
    weights = {}
    for choice in ("false", "true"):
        cfg = shipped(
            "model=dense", "recipe.separate=false", f"trainer.compile={choice}", "data.evaluation.references=0"
        )
        train(cfg, tmp_path / choice)
        weights[choice] = CVAE.load(tmp_path / choice / "checkpoints" / "last.ckpt").state_dict()
    assert calls == [32, 32]
    assert weights["true"].keys() == weights["false"].keys()
    assert all(torch.equal(weights["true"][name], weights["false"][name]) for name in weights["true"])
