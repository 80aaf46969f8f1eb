"""Independent random streams from one seed."""

from __future__ import annotations

import numpy as np
import torch


def stream(*keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` that depends on all ``keys`` (for example seed, epoch, rank) and on their order.

    Different keys give independent streams (:class:`numpy.random.SeedSequence`), unlike ``seed + epoch``, where
    seed 0 at epoch 1 repeats seed 1 at epoch 0.
    """
    entropy = np.random.SeedSequence([key & 0xFFFFFFFFFFFFFFFF for key in keys]).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(entropy >> 1))
