"""How far draws are from what was observed: in each coordinate, in their dependence, and for each condition."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae.metrics.base import AllDraws
from cvae.metrics.dependence import kendall_error


def anderson_darling(x: Tensor, reference: Tensor) -> Tensor:
    """Anderson-Darling distance of a generated sample to observed values, for each coordinate, ``(dimensions,)``.

    With the ``n`` observed values ``r_i`` of a coordinate in rising order and
    ``u_i = (#{generated <= r_i} + 1) / (generated + 2)`` it is
    ``-n - sum_i (2 i - 1) (log u_i + log(1 - u_{n-i+1})) / n``: the statistic of Anderson & Darling 1954, "A test of
    goodness of fit", with the distribution function of the generated sample, which the added counts keep off 0 and 1.
    About 1 for independent values of one distribution; it grows with ``n`` for others, and weighs the tails most.

    Args:
        x: generated ``(count, dimensions)``.
        reference: observed ``(n, dimensions)``.
    """
    columns = reference.T.double().sort().values.contiguous()
    below = torch.searchsorted(x.T.double().sort().values.contiguous(), columns, right=True)
    u = (below + 1).double() / (len(x) + 2)
    n = len(reference)
    weights = 2 * torch.arange(1, n + 1, device=u.device) - 1
    return -n - (weights * (u.log() + (1 - u.flip(1)).log())).sum(1) / n


def energy_scores(draws: Tensor, x: Tensor) -> Tensor:
    """Energy score of the draws of each condition, ``(batch,)``, in the unit of x; less is better.

    ``E|X - x| - E|X - X'| / 2`` with Euclidean norms (Gneiting & Raftery 2007, "Strictly proper scoring rules",
    equation 22), both means without bias: the second is over pairs of different draws (Ferro 2014, "Fair scores for
    ensemble forecasts"), so that the number of draws does not matter on average.

    Args:
        draws: ``(batch, draws, dimensions)``, at least two.
        x: what was observed, ``(batch, dimensions)``.

    Raises:
        ValueError: for fewer draws.
    """
    count = draws.shape[1]
    if count < 2:
        raise ValueError(f"{count} draws; the energy score needs at least 2.")
    apart = torch.cdist(draws, draws).sum((1, 2)) / (count * (count - 1))
    return (draws - x.unsqueeze(1)).norm(dim=-1).mean(1) - apart / 2


def sample_distances(draws: Tensor, x: Tensor) -> dict[str, float]:
    """Three distances of draws to what was observed, of which less is better.

    The draws of all conditions together are one sample for ``anderson_darling``, the mean of :func:`anderson_darling`
    over the coordinates, and ``kendall_error``, see :func:`~cvae.metrics.dependence.kendall_error`; ``energy_score`` is
    the mean of :func:`energy_scores`.

    Args:
        draws: for each condition, ``(count, draws, dimensions)``.
        x: what was observed for each, ``(count, dimensions)``.
    """
    sample = draws.flatten(0, 1)
    return {
        "anderson_darling": float(anderson_darling(sample, x).mean()),
        "kendall_error": kendall_error(sample, x),
        "energy_score": float(energy_scores(draws, x).mean()),
    }


class SampleDistances(AllDraws):
    """:func:`sample_distances` over all draws.

    Args:
        x: what was observed for each condition, ``(count, dimensions)``.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x.cpu()

    def compute(self) -> dict[str, Tensor]:
        """The distances by name."""
        which, draws = self.all_draws(self.x.shape[1:])
        return {name: torch.tensor(value) for name, value in sample_distances(draws, self.x[which]).items()}
