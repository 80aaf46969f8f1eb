"""Independent random streams from one seed, one for each named purpose."""

from __future__ import annotations

from enum import IntEnum, auto

import numpy as np
import torch

from cvae.errors import UserError

LARGEST_SEED = 2**32 - 1


class Purpose(IntEnum):
    """What random numbers are used for; no two purposes share a stream."""

    SIMULATION = auto()
    FRESH_SIMULATION = auto()
    HELD_OUT = auto()
    UNSEEN = auto()
    ORDER = auto()
    TOLERANCE = auto()
    POSTERIOR = auto()
    EVALUATION = auto()
    GENERATION = auto()
    REFINEMENT = auto()
    BACKFILL_POOL = auto()
    BACKFILL = auto()
    EXPLORATION = auto()
    REFERENCE_POOL = auto()
    REFERENCE_REFINEMENT = auto()
    REJECTION_POOL = auto()
    SEPARATION = auto()
    ALIGNMENT = auto()
    BASELINE = auto()
    CLASSIFIER = auto()
    CHAINS = auto()
    SPREAD = auto()
    SETS = auto()


def stream(purpose: Purpose, *keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` that depends on the purpose, on all ``keys`` (for example seed, epoch, rank) and on
    their order.

    Different purposes and keys give independent streams (:class:`numpy.random.SeedSequence`), unlike ``seed + epoch``,
    where seed 0 at epoch 1 repeats seed 1 at epoch 0.
    """
    # two words for each key, after their number: SeedSequence alone takes (5,) and (5, 0) for the same
    words = [word for key in keys for word in (key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF)]
    entropy = np.random.SeedSequence([int(purpose), len(keys), *words]).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(entropy >> 1))


def check_seed(entry: str, seed: int) -> None:
    """Check a seed of the user's.

    Raises:
        UserError: naming the ``entry`` if it is out of range.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"{entry} is {seed}; it must be a whole number from 0 to {LARGEST_SEED}.")
