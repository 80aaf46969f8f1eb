"""Figures as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.files import replacing
from cvae.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")


def check_picture(path: str | Path) -> Path:
    """The path of a picture that can be written.

    Raises:
        UserError: for a suffix other than ``.png``, ``.pdf`` and ``.svg``.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"picture is {path}; it must end in {', '.join(SUFFIXES)}.")
    return path


def write_figure(path: str | Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Write figures, each file whole or not at all.

    Args:
        path: of the first figure, ``picture.png``; further ones are ``picture_1.png``, ``picture_2.png``, ...
        figures: by name, in order.

    Returns:
        The paths.

    Raises:
        UserError: see :func:`check_picture`.
        OSError: if the folder cannot be written to.
    """
    path = check_picture(path)
    paths = [path.with_stem(f"{path.stem}_{number}") if number else path for number in range(len(figures))]
    for each, figure in zip(paths, figures.values(), strict=True):
        with replacing(each) as temporary:
            figure.savefig(temporary, dpi=120)
    return paths


def draw_figures(task: Task, x: Tensor, y: Tensor, most: int) -> dict[str, Figure]:
    """Pictures of draws ``(batch, draws, *x_shape)`` for the first ``most`` conditions of ``y`` ``(batch, *y_shape)``,
    by name."""
    few = y[:most]
    return task.figures(task.drawn(torch.arange(len(few)), x[:most], few))
