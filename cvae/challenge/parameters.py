"""The two YAML files of a bundle: hyperparameters for people, config and weights for the standalone file."""

from __future__ import annotations

import base64
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from cvae.errors import UserError
from cvae.generation import Plan
from cvae.models import CVAE
from cvae.runs.folder import read
from cvae.seeds import Purpose, stream

log = logging.getLogger(__name__)

#: of model_parameters.yaml
FORMAT = 2


def plain_config(model: CVAE) -> dict[str, Any]:
    """The config that a model was built from.

    Raises:
        UserError: if it was built without one.
    """
    if model.config is None:
        raise UserError("this model was built without a config; load one from a checkpoint with CVAE.load.")
    return model.config


def hyperparameters(model: CVAE, checkpoint: Path) -> dict[str, Any]:
    """The challenge's seven hyperparameters, null where nobody recorded them, and the settings of the model."""
    config = plain_config(model)
    run, loss = _run_config(checkpoint, config), config["loss"]
    return {
        "latent_dim": model.network.latent_dim,
        "lr": run.get("optimizer", {}).get("lr"),
        "batch_size": run.get("data", {}).get("batch_size"),
        "beta": loss.get("beta"),
        "wx": loss.get("wx"),
        "wy": loss.get("wy"),
        "max_epochs": run.get("trainer", {}).get("max_epochs"),
        "model": config["model"],
        "loss": loss,
    }


def _run_config(checkpoint: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the run that a checkpoint ``RUN/checkpoints/*.ckpt`` comes from; empty if unknown."""
    try:
        record = read(Path(checkpoint).resolve().parent.parent)
    except UserError as error:
        log.warning("%s The bundle says nothing of its settings.", error)
        return {}
    found = (record or {}).get("config") or {}
    # a checkpoint that was moved may lie beside the record of another run
    same = all(found.get(part) == config[part] for part in ("model", "loss"))
    return {name: value for name, value in found.items() if isinstance(value, dict)} if same else {}


def parameters(model: CVAE, plan: Plan, stage: str) -> dict[str, Any]:
    """All that the standalone file needs beside its code, as plain data.

    Args:
        model: the trained model.
        plan: how the bundle's solutions were generated.
        stage: the last stage of their generation; ``draw`` for plain draws, which the file makes again.
    """
    config = plain_config(model)
    sampling = {
        "draws": plan.draws,
        "seed": stream(Purpose.GENERATION, plan.seed).initial_seed(),
        "chunk": plan.chunk,
        "point_set": model.evaluation.point_set,
        "temperature": model.evaluation.temperature if plan.temperature is None else plan.temperature,
    }
    return {
        "format": FORMAT,
        "task": config["task"],
        "x_shape": list(model.task.x_shape),
        "y_shape": list(model.task.y_shape),
        "model": config["model"],
        "generation": dataclasses.asdict(plan),
        "stage": stage,
        "sampling": sampling,
        "weights": {name: encode(tensor) for name, tensor in model.network.state_dict().items()},
    }


def encode(tensor: Tensor) -> dict[str, Any]:
    """A tensor as shape, type and bytes in base64 text: exact, and a hundred times as fast to parse as numbers."""
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "base64": base64.b64encode(data).decode("ascii"),
    }


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data; lists of numbers on one line, mappings on lines of their own."""
    # the writer in C is ten times as fast, where PyYAML has it
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(dict(content), Dumper=dumper, sort_keys=False, default_flow_style=None, width=120)
    path.write_text(text, encoding="utf-8")
