"""Independent random streams from one seed."""

from __future__ import annotations

import numpy as np
import torch


def stream(*keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` that depends on all ``keys`` (for example seed, epoch, rank) and on their order.

    Different keys give independent streams (:class:`numpy.random.SeedSequence`), unlike ``seed + epoch``, where
    seed 0 at epoch 1 repeats seed 1 at epoch 0.
    """
    # two words for each key, after their number: SeedSequence alone takes (5,) and (5, 0) for the same
    words = [word for key in keys for word in (key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF)]
    entropy = np.random.SeedSequence([len(keys), *words]).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(entropy >> 1))
