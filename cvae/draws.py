"""Points in the unit cube from which latent draws start: random ones, or Sobol's for a better spread."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

PointSet = Callable[[int, int, int, torch.Generator], Tensor]


def random_points(batch: int, draws: int, dim: int, generator: torch.Generator) -> Tensor:
    """Independent uniform points ``(batch, draws, dim)``."""
    return torch.rand(batch, draws, dim, generator=generator, device=generator.device)


def sobol_points(batch: int, draws: int, dim: int, generator: torch.Generator) -> Tensor:
    """Sobol points ``(batch, draws, dim)``, shifted at random modulo 1 for each of the batch.

    Each point alone is uniform; together they fill the cube more evenly than random ones (Sobol 1967; the shift is
    Cranley & Patterson 1976).

    Raises:
        ValueError: for more dimensions than the tables of Joe and Kuo hold.
    """
    if dim > SobolEngine.MAXDIM:
        raise ValueError(f"generation.draws=sobol has at most {SobolEngine.MAXDIM} dimensions, not {dim}; use random.")
    # one scramble for all: the shift alone makes each point uniform, and so the draws of a condition do not depend on
    # how conditions are split into batches
    points = SobolEngine(dim, scramble=True, seed=0).draw(draws).to(generator.device)
    shift = torch.rand(batch, 1, dim, generator=generator, device=generator.device)
    return (points + shift) % 1.0


POINT_SETS: dict[str, PointSet] = {"random": random_points, "sobol": sobol_points}


def point_set(name: str) -> PointSet:
    """The point set of that name.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if name not in POINT_SETS:
        raise ValueError(f"generation.draws is {name!r}; it must be one of {', '.join(POINT_SETS)}.")
    return POINT_SETS[name]
