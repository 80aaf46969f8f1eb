"""Checkpoint files on disk: written whole or not at all, and good to go on from."""

from __future__ import annotations

import io
import itertools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from cvae.errors import MissingFileError, UserError, printable
from cvae.files import replacing
from cvae.models.checkpoints import CheckpointError, check_fit, read_content
from cvae.runs.checkpoint_checks import Expected, check_own
from cvae.runs.continuation import KEY, confined, versions
from cvae.runs.folder import LAST, Start, check_kind, set_aside
from cvae.runs.ranks import rank

#: what a writer that was killed leaves, see :func:`cvae.files.replacing`
LEFT = f".*{'[0-9a-f]' * 16}.ckpt"

log = logging.getLogger(__name__)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, and reads none that is damaged.

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

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """What a checkpoint holds, on the CPU; see :func:`cvae.models.checkpoints.read_content`."""
        return read_content(path)


def resumable(run_dir: Path, expected: Expected) -> Start:
    """Where a run goes on: at its last checkpoint or, where that is damaged or gone, at the newest one that is whole.

    The first process sets a damaged ``last.ckpt`` or best checkpoint aside as ``NAME.damaged`` in ``run_dir``, a best
    one of another epoch as ``NAME.aside``, and says so, as well as which best epoch is lost; where none is whole, all
    that the run wrote. The others come to the same start, also while it does so.

    Args:
        run_dir: the run's folder.
        expected: what its checkpoints fit.

    Raises:
        UserError: for a ``last.ckpt`` of another run, one of other versions that does not fit, or one that cannot be
            read now.
    """
    last = run_dir / LAST
    if rank() == 0:
        for path in filter(Path.is_file, last.parent.glob(LEFT)):
            path.unlink()
    known = any(last.parent.rglob("[!.]*.ckpt"))
    content = _whole(last, expected)
    start = start_from(expected.run, last, content) if content else _newest(last, expected)
    if rank() > 0:
        return start
    if start.checkpoint is not None:
        _tell_lost(content or read_content(start.checkpoint), last.parent, expected)
    elif known:
        log.warning(
            "%s: none of its checkpoints is whole; the run starts anew. What it wrote before is moved to %s.",
            run_dir,
            set_aside(run_dir),
        )
    return start


def _newest(last: Path, expected: Expected) -> Start:
    """The start at the newest whole checkpoint beside the last one; others, also of other runs, are left alone."""
    found = []
    for path in sorted(last.parent.glob("[!.]*.ckpt")):
        if path != last and path.is_file() and (content := _fitting(path, expected)) is not None:
            found.append(start_from(expected.run, path, content))
    return max(found, key=lambda start: start.step or 0, default=Start(expected.run))


def _fitting(path: Path, expected: Expected) -> dict[str, Any] | None:
    """What a checkpoint holds; None if a run cannot go on from it."""
    try:
        content = read_content(path)
        try:
            check_own(path, content, expected)
        except UserError as error:
            raise CheckpointError(str(error)) from None
    except (MissingFileError, CheckpointError) as error:
        log.warning("%s It is passed over.", error)
        return None
    return content


def start_from(run: str, path: Path, content: Mapping[str, Any] | None = None) -> Start:
    """The start of the run with the identity ``run`` at a checkpoint, which is read if its content is not given."""
    content = content or read_content(path)
    return Start(run, path, content["global_step"], content[KEY]["loggers"])


def _whole(path: Path, expected: Expected, *, weights_only: bool = False) -> dict[str, Any] | None:
    """What a checkpoint of a run holds; None if there is none, or a damaged one, which is set aside.

    Raises:
        UserError: for one of another run or of other versions, which is no damage, or for no plain file.
    """
    check_kind(path)
    content: dict[str, Any] = {}
    try:
        content = read_content(path)
        if weights_only:
            check_fit(path, content["state_dict"], expected.model)
        else:
            check_own(path, content, expected)
    except MissingFileError:
        return None
    except CheckpointError as error:
        differ = _other_versions(content)
        if differ:
            raise UserError(
                f"{error} It was written by other versions: {differ}. Use those, or move it away to begin anew."
            ) from None
        if rank() == 0:
            log.warning("%s It is set aside as %s.", error, _set_aside(path, "damaged"))
        return None
    return content


def _set_aside(path: Path, ending: str) -> Path:
    """Move a checkpoint to the run's folder, beside what was set aside before."""
    for number in itertools.count(1):
        aside = path.parent.parent / (f"{path.name}.{ending}" + f"-{number}" * (number > 1))
        if not os.path.lexists(aside):
            return path.replace(aside)
    raise AssertionError


def _other_versions(content: Mapping[str, Any]) -> str:
    """In what the versions that wrote a checkpoint differ from those here, in words; empty if it does not tell."""
    own = content.get(KEY)
    if not isinstance(own, Mapping):
        return ""
    there = own.get("versions")
    found = {name: there.get(name) if isinstance(there, Mapping) else None for name in versions()}
    return ", ".join(
        f"{name} {printable(str(found[name] or 'not named'))[:20]} there and {here} here"
        for name, here in versions().items()
        if found[name] != here
    )


def _tell_lost(content: Mapping[str, Any], folder: Path, expected: Expected) -> None:
    """Set the checkpoints of best epochs aside where they are damaged or of another epoch than the run's last one says,
    and say what is lost with them."""
    for callback in expected.callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.monitor is None:
            continue
        state = confined(content["callbacks"][callback.state_key], folder.resolve())
        best = state["best_model_path"]
        if not best:
            continue
        kept = _whole(Path(best), expected, weights_only=callback.save_weights_only)
        if kept is not None and not callback.save_weights_only and _is_another(kept, content, callback.state_key):
            aside = _set_aside(Path(best), "aside")
            log.warning("%s: is of another epoch than the last one says. It is set aside as %s.", best, aside)
            kept = None
        if kept is None:
            log.warning(
                "%s: is gone or set aside, and the best epoch up to now is lost with it. The best one of those that "
                "follow is kept in its place; if none follows, the last one.",
                best,
            )


def _is_another(kept: Mapping[str, Any], last: Mapping[str, Any], key: str) -> bool:
    """Whether the best checkpoint ``kept`` is of another epoch than the last one says, by its score and measures.

    One that is no older than the last one was written after it, and that epoch comes again.
    """
    states = [content["callbacks"][key] for content in (kept, last)]
    # as text, in which numbers that are none are equal
    told = [(float(state["best_model_score"]), str(state.get("measures"))) for state in states]
    return bool(kept["global_step"] < last["global_step"] and told[0] != told[1])
