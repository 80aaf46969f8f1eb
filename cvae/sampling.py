"""Point sets that latent draws start from, and large sets of draws in chunks that bound memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from cvae.errors import UserError

PointSet = Callable[[int, int, int, torch.Generator], Tensor]

#: draws of two lines of 50 points in a chunk. On a CPU, larger ones leave its caches; an accelerator needs many at once
ON_CPU, ON_DEVICE = 4_096, 65_536
#: numbers in such a draw
USUAL = 100


def random_points(batch: int, draws: int, dim: int, generator: torch.Generator) -> Tensor:
    """Independent uniform points ``(batch, draws, dim)``."""
    return torch.rand(batch, draws, dim, generator=generator, device=generator.device)


def sobol_points(batch: int, draws: int, dim: int, generator: torch.Generator) -> Tensor:
    """Sobol points ``(batch, draws, dim)``, evened out along each axis and shifted at random modulo 1 for each of the
    batch.

    Each point alone is uniform; together they fill the cube more evenly than random ones (Sobol 1967; the shift is
    Cranley & Patterson 1976). Along an axis, Sobol points are even for powers of two alone; here each coordinate is
    replaced by its rank, so that they are for any number, as in a Latin hypercube (McKay et al. 1979).

    Raises:
        UserError: for more dimensions than the tables of Joe and Kuo hold.
    """
    if dim > SobolEngine.MAXDIM:
        raise UserError(
            f"evaluation.point_set=sobol has at most {SobolEngine.MAXDIM} dimensions, not {dim}; use random."
        )
    # one scramble for all: the shift alone makes each point uniform, and so the draws of a condition do not depend on
    # how conditions are split into batches
    points = SobolEngine(dim, scramble=True, seed=0).draw(draws)
    points = ((points.argsort(0).argsort(0) + 0.5) / draws).to(generator.device)
    shift = torch.rand(batch, 1, dim, generator=generator, device=generator.device)
    return (points + shift) % 1.0


POINT_SETS: dict[str, PointSet] = {"random": random_points, "sobol": sobol_points}


def find_point_set(name: str) -> PointSet:
    """The point set of that name.

    Raises:
        UserError: for an unknown name; the message lists the known ones.
    """
    if name not in POINT_SETS:
        raise UserError(f"evaluation.point_set is {name!r}; it must be one of {', '.join(POINT_SETS)}.")
    return POINT_SETS[name]


def chunk_size(device: torch.device, numbers: int = USUAL) -> int:
    """How many draws of ``numbers`` numbers each to handle at once on ``device``."""
    return max((ON_CPU if device.type == "cpu" else ON_DEVICE) * USUAL // max(numbers, 1), 1)


def chunks(batch: int, draws: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of conditions and of draws that together visit ``(batch, draws)`` once, in order, ``size`` at a time.

    A chunk holds several conditions with all of their draws, or some draws of one condition.
    """
    several = max(size // max(draws, 1), 1)
    for first in range(0, batch, several):
        for start in range(0, draws, size):
            yield slice(first, first + several), slice(start, start + size)


def in_chunks(function: Callable[[slice, slice], Tensor], batch: int, draws: int, size: int) -> Tensor:
    """The results of ``function(conditions, draws)`` of all chunks, put together to ``(batch, draws, ...)``."""
    if batch * draws <= size:
        return function(slice(None), slice(None))
    found: Tensor | None = None
    for some, part in chunks(batch, draws, size):
        piece = function(some, part)
        found = piece.new_empty(batch, draws, *piece.shape[2:]) if found is None else found
        found[some, part] = piece
    assert found is not None
    return found
