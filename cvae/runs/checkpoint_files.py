"""Checkpoint files on disk: written whole or not at all, and good to go on from."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from cvae.files import replacing
from cvae.runs.continuation import KEY

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
        missing = {KEY, "global_step", "optimizer_states", "loops"} - set(content)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch.load raises many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.warning("%s: cannot be loaded (%s); the run starts anew.", path, reason)
        return None
    if missing:
        log.warning("%s: lacks %s; the run starts anew.", path, ", ".join(sorted(missing)))
        return None
    return path


def step_of(path: Path | None) -> int | None:
    """The optimiser step at which a checkpoint was written; None for no checkpoint."""
    if path is None:
        return None
    return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
