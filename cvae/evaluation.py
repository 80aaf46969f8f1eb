"""Draws for a fixed set of conditions, checked and measured: each process its share, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.draws import PointSet
from cvae.problems import Check, Problem

# decoded draws held at once; bounds the memory of evaluation and generation
CHUNK = 65_536

Decode = Callable[[Tensor, Tensor], Tensor]


class Drawn(NamedTuple):
    """Draws for some conditions.

    Attributes:
        which: indices of the conditions, ``(batch,)``.
        x: draws ``(batch, draws, lines, points)``.
        check: their :class:`~cvae.problems.Check`.
    """

    which: Tensor
    x: Tensor
    check: Check


@torch.no_grad()
def draw_and_check(
    decode: Decode,
    problem: Problem,
    y: Tensor,
    draws: int,
    dim: int,
    points: PointSet,
    generator: torch.Generator,
    rank: int = 0,
    world: int = 1,
    chunk: int = CHUNK,
) -> Iterator[Drawn]:
    """Draw for every ``world``-th condition from ``rank`` on.

    The points are made for all conditions and then shared out, so draws do not depend on the number of processes.

    Args:
        decode: ``(y, u) -> x``, see :meth:`cvae.networks.LatentNetwork.draw`.
        problem: decides validity.
        y: conditions ``(count, conditions, points)``.
        draws: draws for each condition.
        dim: size of the cube that ``decode`` starts from.
        points: point set in that cube.
        generator: source of all randomness.
        rank, world: this process and their number.
        chunk: draws decoded at once.
    """
    u = points(len(y), draws, dim, generator).to(y.device)
    index = torch.arange(len(y), device=y.device)[rank::world]
    for piece in index.split(max(chunk // draws, 1)):
        x = decode(y[piece], u[piece])
        yield Drawn(piece, x, problem.check(x, y[piece]))
