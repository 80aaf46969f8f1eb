"""The YAML files of a bundle: what the run recorded, and weights exactly as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae import CVAE
from cvae.challenge.parameters import encode, hyperparameters
from cvae.challenge.standalone import check_bundle, tensor_from
from cvae.errors import UserError


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


WEIGHT = encode(torch.ones(2))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: None, "is missing or damaged"),
        (lambda content: [1], "is missing or damaged|lacks model"),
        (lambda content: {"model": 1}, "lacks weights, sampling, stage, x_shape, y_shape"),
        (lambda content: content | {"weights": {"a": WEIGHT | {"shape": [3]}}}, "weights that are damaged"),
        (lambda content: content | {"weights": {"a": WEIGHT | {"dtype": "nope"}}}, "weights that are damaged"),
        (lambda content: content | {"weights": {"other": WEIGHT}}, "do not fit its model"),
        (lambda content: content | {"weights": [1]}, "do not fit its model"),
        (lambda content: content | {"model": {"_target_": "os.system"}}, "do not fit its model"),
        (lambda content: content, r"result\.pt: is missing, damaged or no result"),
    ],
)
def test_a_damaged_bundle_is_told_in_one_message(tmp_path: Path, spoil: Any, message: str) -> None:
    targets = {"torch.nn.Linear": torch.nn.Linear}
    model = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1}
    content = {
        "model": model,
        "weights": {name: encode(tensor) for name, tensor in torch.nn.Linear(2, 1).state_dict().items()},
        "sampling": {"draws": 2},
        "stage": "draw",
        "x_shape": [2],
        "y_shape": [1],
    }
    spoilt = spoil(content)
    (tmp_path / "model_parameters.yaml").write_text(yaml.safe_dump(spoilt))
    torch.save(TensorDataset(torch.zeros(4, 2), torch.zeros(4, 1)), tmp_path / "result.pt")
    if spoilt is content:
        (tmp_path / "result.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=message) as caught:
        check_bundle(tmp_path, targets)
    assert "weights_only" not in str(caught.value)


def test_a_bundle_without_parameters_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model_parameters\.yaml: is missing or damaged"):
        check_bundle(tmp_path, {})
