"""Two forward operators: any functions will do that are made of torch operations, which can be differentiated."""

import torch
from torch import Tensor


def harmonic_mean(x: Tensor) -> Tensor:
    """The harmonic mean of two lines, ``(..., 2, points)`` to one curve ``(..., 1, points)``."""
    return 2 / (1 / (x + 0.1)).sum(-2, keepdim=True)


def throw(x: Tensor) -> Tensor:
    """How far a ball flies, in metres: ``(..., 2)``, speed in m/s and angle in degrees, to one value ``(..., 1)``."""
    speed, angle = x.unbind(-1)
    return (speed.square() * torch.sin(2 * torch.deg2rad(angle)) / 9.81).unsqueeze(-1)
