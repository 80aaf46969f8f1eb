"""The YAML files of a bundle: what the run recorded, and weights exactly as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from cvae import CVAE
from cvae.challenge.parameters import encode, hyperparameters
from cvae.challenge.standalone import tensor_from


def test_hyperparameters_come_from_the_run(checkpoint: Path) -> None:
    config = json.loads((checkpoint.parent.parent / "result.json").read_text())["config"]
    found = hyperparameters(CVAE.load(checkpoint), checkpoint)
    assert found["lr"] == config["optimizer"]["lr"]
    assert found["batch_size"] == config["data"]["batch_size"]
    assert found["max_epochs"] == 1
    for name in ("beta", "wx", "wy"):
        assert found[name] == config["loss"][name]
    assert found["latent_dim"] == config["model"]["latent_dim"]
    assert found["model"]["_target_"] == "cvae.networks.dense"


@pytest.mark.parametrize("content", [None, "{", "[]", '{"config": {"model": {}, "loss": {}}}'])
def test_hyperparameters_without_a_record_are_null(checkpoint: Path, content: str | None) -> None:
    record = checkpoint.parent.parent / "result.json"
    record.unlink()
    if content is not None:
        record.write_text(content)
    found = hyperparameters(CVAE.load(checkpoint), checkpoint)
    assert [found[name] for name in ("lr", "batch_size", "max_epochs")] == [None] * 3
    assert None not in [found[name] for name in ("beta", "wx", "wy", "latent_dim")]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([[1.0, -0.0, torch.pi], [1e-45, 3e38, -torch.inf]]),
        torch.tensor(7),
        torch.rand(5, dtype=torch.float64),
        torch.rand(4, 3).T,
    ],
)
def test_weights_survive_text_exactly(tensor: Tensor) -> None:
    back = tensor_from(yaml.safe_load(json.dumps(encode(tensor))))
    assert back.dtype == tensor.dtype
    assert torch.equal(back, tensor)
    assert back.shape == tensor.shape
