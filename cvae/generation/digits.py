"""Digits for an array of labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.generation.generate import Plan, generate
from cvae.models import CVAE
from cvae.tasks import Digits


def generate_digits(model: CVAE, labels: Sequence[int] | Tensor, draws: int = 1, seed: int = 0) -> Tensor:
    """Images ``(labels, draws, side, side)``, grey values in [0, 1], each generated given its class.

    Args:
        model: of digits, for example ``CVAE.load("best.ckpt")``.
        labels: classes 0 to 9; a list, an array or a tensor.
        draws: images for each label.
        seed: fixes the images.

    Raises:
        UserError: for an unknown class, no label, or a model of something else.
    """
    if not isinstance(model.task, Digits):
        raise UserError(f"this model is of {type(model.task).__name__}, not of digits.")
    y = model.task.conditions(torch.as_tensor(labels).tolist()).to(model.device)
    return generate(model, model.task, y, Plan(draws=draws, seed=seed)).x
