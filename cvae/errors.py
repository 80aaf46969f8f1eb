"""What a user reads when something is wrong: one message for a mistake of theirs, the whole stack for one of ours."""

from __future__ import annotations

import traceback

from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException


def user_message(error: BaseException) -> str | None:
    """The message of a check that failed, in this package or in Lightning's; None for any other error.

    A failed check is a ``ValueError``, ``FileNotFoundError`` or ``ChildProcessError`` that code of this package raised
    itself: one that comes from a library called with wrong values is a bug, whose stack is needed.
    """
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, MisconfigurationException):
        return str(error)
    if isinstance(error, OmegaConfBaseException):
        return str(error)
    own = isinstance(error, ValueError | FileNotFoundError | ChildProcessError) and _raised_in_package(error)
    return str(error) if own else None


def _raised_in_package(error: BaseException) -> bool:
    frames = list(traceback.walk_tb(error.__traceback__))
    package = __name__.split(".", maxsplit=1)[0]
    return bool(frames) and str(frames[-1][0].f_globals.get("__name__")).split(".", maxsplit=1)[0] == package
