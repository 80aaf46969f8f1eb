"""Output heads: from the decoder's features to solutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.recording import recorded
from cvae.tasks.space import Space

#: share of a range, at each of its ends, in which :func:`linear_share` bends
BENT = 0.01


def linear_share(raw: Tensor) -> Tensor:
    """All numbers to (0, 1), of the shape of ``raw``: a hard sigmoid with smooth ends.

    It is ``u = 1/2 + raw/4``, the tangent of the logistic function at 0, as long as this is at least :data:`BENT` from
    0 and 1; beyond, ``BENT**2 / (2 BENT - u)`` and its mirror image, with the same slope where they meet.
    """
    u = 0.5 + raw / 4
    below, above = (BENT**2 / (2 * BENT - v).clamp_min(BENT) for v in (u, 1 - u))
    return torch.where(u < BENT, below, torch.where(u > 1 - BENT, 1 - above, u))


#: from all numbers to shares of a range, by name
LINKS: dict[str, Callable[[Tensor], Tensor]] = {"logistic": torch.sigmoid, "linear": linear_share}


class Head(nn.Module):
    """What every head has: the number of ``outputs`` that it asks of the decoder."""

    outputs: int

    def squared_error(self, raw: Tensor, x: Tensor) -> Tensor:
        """Mean squared distance ``(batch, samples)`` of ``raw`` ``(batch, samples, outputs)``, decoded, to ``x``."""
        return (self(raw) - x.unsqueeze(1)).square().flatten(2).mean(2)


@recorded
class ValuesHead(Head):
    """Every value of a solution is an output of its own, without bounds (as in the starter).

    Args:
        x_shape: shape of a solution.
    """

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(x_shape)
        self.outputs = math.prod(self.shape)

    def forward(self, raw: Tensor) -> Tensor:
        """``(..., outputs)`` to ``(..., *x_shape)``."""
        return raw.float().unflatten(-1, self.shape)


@recorded
class ProbabilitiesHead(ValuesHead):
    """Every value of a solution is an output of its own in (0, 1): a probability or a grey value, for the likelihood
    :func:`cvae.losses.bernoulli`.

    Args:
        x_shape: shape of a solution.
    """

    def forward(self, raw: Tensor) -> Tensor:
        """``(..., outputs)`` to ``(..., *x_shape)``."""
        return super().forward(raw).sigmoid()


@recorded
class ParametersHead(Head):
    """The parameters of a solution, allowed by construction: lines are straight and have their directions, a vector is
    in its box.

    Args:
        space: what solutions are made of.
        link: from all numbers to the shares of the ranges, ``logistic`` or ``linear`` (:func:`linear_share`): the
            inverse link function of a generalized linear model, or output activation. What is linear in the features of
            a decoder stays so with ``linear``; with ``logistic`` the features have to bend it back.

    Raises:
        UserError: for another link.
    """

    def __init__(self, space: Space, link: Literal["logistic", "linear"] = "logistic") -> None:
        super().__init__()
        if link not in [*LINKS]:
            raise UserError(f"model.head.link is {link!r}; it must be one of {', '.join(LINKS)}.")
        self.space, self.link = space, LINKS[link]
        self.outputs = space.parameters

    def forward(self, raw: Tensor) -> Tensor:
        """``(..., parameters)`` to ``(..., *x_shape)``."""
        return self.space.decode(self._theta(raw))

    def squared_error(self, raw: Tensor, x: Tensor) -> Tensor:
        """Mean squared distance ``(batch, samples)``, worked out on the parameters."""
        return self.space.squared_error(self._theta(raw), x.unsqueeze(1))

    def _theta(self, raw: Tensor) -> Tensor:
        # in full precision, also under autocast: a misfit near the gate needs more digits than half precision has
        return self.space.from_shares(self.link(raw.float()))
