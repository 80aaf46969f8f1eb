"""Checkpoint files on disk: written whole or not at all, and good to go on from."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from cvae.errors import UserError
from cvae.files import replacing
from cvae.models import Generative
from cvae.models.checkpoints import check_fit, read_content
from cvae.runs.continuation import KEY

#: what a training needs to go on
RESUMED = {
    KEY: dict, "epoch": int, "global_step": int, "optimizer_states": list, "lr_schedulers": list, "loops": dict,
}  # fmt: skip
#: what no result depends on of an optimizer's options, and the rate that the schedule has come to
UNCOMPARED = {"params", "lr", "initial_lr", "fused", "foreach", "capturable", "differentiable"}

log = logging.getLogger(__name__)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it.

    Lightning's own way writes into the folder for temporary files and moves the file from there: where that is another
    disk, the move is a copy, and one that is cut short leaves half a checkpoint in the place of a whole one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint whole or not at all."""
        # in memory first: torch turns a full disk into an error that does not say so
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())


def resumable(path: Path) -> Path | None:
    """``path`` if a run can go on from it; None if it does not exist, or is damaged, which is said.

    Raises:
        OSError: if it cannot be read now; the next try may find it whole.
    """
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        missing = _missing(content)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch.load raises many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.warning("%s: cannot be loaded (%s); the run starts anew.", path, reason)
        return None
    if missing:
        log.warning("%s: lacks %s; the run starts anew.", path, ", ".join(missing))
        return None
    return path


def _missing(content: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, kind in RESUMED.items() if not isinstance(content.get(name), kind))


def check_continuable(path: str | Path, model: Generative, trainer: Mapping[str, Any]) -> None:
    """Check that a training of ``model`` can go on from the checkpoint of another run.

    Args:
        path: of the checkpoint.
        model: with its optimizer, not trained yet.
        trainer: how far it shall be trained, ``max_epochs`` and ``max_steps``.

    Raises:
        MissingFileError: if there is no such file.
        UserError: for a damaged or foreign file, weights of another model, another optimizer, or nothing that is left
            to do.
    """
    content = read_content(path)
    check_fit(path, content["state_dict"], model)
    missing = _missing(content)
    if missing:
        raise UserError(f"ckpt_path is {path}, which lacks {', '.join(missing)}; name a checkpoint of a run.")
    for name, done in (("epochs", content["epoch"] + 1), ("steps", content["global_step"])):
        most = trainer.get(f"max_{name}", -1)
        if most is not None and 0 <= most <= done:
            raise UserError(f"trainer.max_{name} is {most}, but {path} has {done} {name} already; set it higher.")
    try:
        there = _options(content["optimizer_states"][0]["param_groups"][0])
    except (LookupError, TypeError):
        raise UserError(f"ckpt_path is {path}, whose optimizer_states are damaged; name another checkpoint.") from None
    _check_optimizer(path, there, model)


def _check_optimizer(path: str | Path, there: dict[str, Any], model: Generative) -> None:
    """Check that the optimizer of ``model`` has the options that come with the state of the one that goes on."""
    assert model.training_parts is not None
    here = _options(model.training_parts.optimizer(model.parameters()).param_groups[0])
    differ = [name for name in here | there if here.get(name) != there.get(name)]
    if differ:
        told = [f"{name} is {there.get(name, 'not set')} there and {here.get(name, 'not set')} here" for name in differ]
        raise UserError(
            f"optimizer: {path} goes on with its own one, which differs: {'; '.join(told)}. Set it as it was, or begin "
            f"anew with these weights, init_from={path}."
        )


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a result of the options of an optimizer; ``lr`` is the one that its schedule began with."""
    options = {name: value for name, value in group.items() if name not in UNCOMPARED}
    return {"lr": group.get("initial_lr", group["lr"])} | options


def step_of(path: Path | None) -> int | None:
    """The optimiser step at which a checkpoint was written; None for no checkpoint."""
    if path is None:
        return None
    return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])


def versions_of(path: Path | None) -> dict[str, str]:
    """By which names the loggers of a training know it, by their classes; empty for no checkpoint."""
    if path is None:
        return {}
    found: dict[str, str] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)[KEY].get("loggers", {})
    return found
