"""The two YAML files of a bundle: hyperparameters for people, config and weights for the standalone file."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from torch import Tensor

from cvae.generation import Plan
from cvae.module import CVAE


def plain_config(model: CVAE) -> dict[str, Any]:
    """The config that a model was built from.

    Raises:
        ValueError: if it was built without one.
    """
    if model.config is None:
        raise ValueError("this model was built without a config; load one from a checkpoint with CVAE.load.")
    return model.config


def hyperparameters(model: CVAE, checkpoint: Path) -> dict[str, Any]:
    """The challenge's seven hyperparameters, null where nobody recorded them, and the settings of the model."""
    config = plain_config(model)
    run = _run_config(checkpoint, config)
    loss = config["loss"]
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
    path = Path(checkpoint).resolve().parent.parent / "result.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["config"]
        # a checkpoint that was moved may lie beside the record of another run
        same = all(found[part] == config[part] for part in ("model", "loss"))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if same else {}


def parameters(model: CVAE, plan: Plan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that the standalone file needs beside its code, as plain data.

    Args:
        model: the trained model.
        plan: how the bundle's solutions were generated, for the record.
        settings: how its plain draws are made.
    """
    config = plain_config(model)
    shape = {"conditions": model.problem.forward.conditions, "points": model.problem.geometry.points}
    weights = {name: encode(tensor) for name, tensor in model.network.state_dict().items()}
    return {
        "format": 1,
        "problem": config["problem"],
        "condition": shape,
        "model": config["model"],
        "generation": dataclasses.asdict(plan),
        "draws": dict(settings),
        "weights": weights,
    }


def encode(tensor: Tensor) -> dict[str, Any]:
    """A tensor as shape, type and bytes (little-endian) in base64 text.

    Exact, and read in no time: a YAML parser takes a number written out one by one, a hundred times as long.
    """
    array = tensor.detach().cpu().contiguous().numpy()
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "base64": _Text(base64.encodebytes(data).decode("ascii")),
    }


class _Text(str):
    """Text that YAML shall hold as a block of lines."""


# the writer in C is ten times as fast, where PyYAML has it
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):
    """Writes :class:`_Text` as it should be; its own class, so that yaml's stays as it is."""


_Dumper.add_representer(
    _Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data and :func:`encode`d tensors."""
    # lists of numbers on one line, mappings on lines of their own
    text = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)
    path.write_text(text, encoding="utf-8")
