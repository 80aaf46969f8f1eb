"""The set objective: draws of one condition that are trained together, to cover what its gates allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from cvae.errors import UserError
from cvae.losses.schedules import Progress, geometric
from cvae.networks import LatentNetwork
from cvae.recording import recorded
from cvae.sampling import sobol_points
from cvae.tasks import Problem

#: share of the phase over which the width falls
NARROWED = 0.6
#: coordinates that are looked at in one step, chosen at random
COORDINATES = 32
#: violation beyond which the credit of a choice falls no further
FARTHEST = 3.0


class Sets(NamedTuple):
    """What sets of draws cost, each ``(conditions,)``: ``cost`` is minimised, ``gain`` is :func:`smooth_coverage`, and
    ``violation`` the mean of :func:`violations` over the draws."""

    cost: Tensor
    gain: Tensor
    violation: Tensor


def smooth_coverage(u: Tensor, width: float) -> Tensor:
    """``sum_i width (1 - exp(-gap_i / width))`` over the gaps between the sorted draws of each coordinate, mean over
    coordinates, ``(batch,)``.

    With ``min(gap, width)`` in place of the saturating term it is the length of the union of intervals of that width
    that begin at the draws, but for the last one; divided by the width, this is the number of bins that the draws hit,
    averaged over the position of the bins. The exponential has a gradient for every gap, which makes them even.

    Args:
        u: coordinates of draws as shares of their ranges, ``(batch, draws, coordinates)``.
        width: of a bin, as a share of the range.
    """
    return _saturated(u.sort(1).values.diff(dim=1), width).sum(1).mean(1)


def _saturated(gaps: Tensor, width: float) -> Tensor:
    return width * -torch.expm1(-gaps / width)


def leave_one_out(u: Tensor, width: float) -> Tensor:
    """What :func:`smooth_coverage` would lose without each of the draws, ``(batch, draws)``; arguments as there."""
    places, order = u.sort(1)
    # of each draw the gap before it, the one after it, and the one that would be left of both; beyond the ends is none
    gaps = pad(_saturated(places.diff(dim=1), width), (0, 0, 1, 1))
    joined = pad(_saturated(places[:, 2:] - places[:, :-2], width), (0, 0, 1, 1))
    lost = gaps[:, :-1] + gaps[:, 1:] - joined
    return torch.zeros_like(lost).scatter(1, order, lost).mean(-1)


def brought_nearer(u: Tensor, target: Tensor) -> Tensor:
    """How much farther from ``target`` the nearest draw would be without each of the draws, ``(batch, draws)``: 0 for
    all but the nearest. Distances are roots of the mean square over the coordinates, at most 1.

    Args:
        u: coordinates of at least two draws as shares of their ranges, ``(batch, draws, coordinates)``.
        target: the same of one solution, ``(batch, coordinates)``.
    """
    distances = (u - target.unsqueeze(1)).square().mean(-1).sqrt().clamp_max(1)
    two, which = distances.topk(2, dim=1, largest=False)
    return torch.zeros_like(distances).scatter(1, which[:, :1], two.diff(dim=1))


def choice_term(lost: Tensor, violation: Tensor, log_choice: Tensor) -> Tensor:
    """A term of value 0 that gives discrete choices a gradient, ``(conditions,)``; each argument ``(conditions,
    draws)``.

    No gradient flows through a choice k, so p(k|y) learns by the score function (REINFORCE, Williams 1992): the
    gradient of the expected cost of a set is the mean of ``-credit * grad log p(k|y)`` over its draws. As the credit of
    a draw counts only what depends on it: what its set would lose without it, and its own violation. Of both a mean is
    taken away that does not depend on this choice, which leaves the expectation and lowers the variance (section 4
    there): that of the other sets, and that of the other draws of the set. Unbiased for independent draws; those of a
    Sobol set vary less.

    Args:
        lost: the number of draws times what the set would lose without each.
        violation: of each draw, weighted.
        log_choice: ``log p(k|y)`` of the choice of each draw.
    """
    credit = (_above_others(lost, 0) - _above_others(violation, 1)).detach()
    return -(credit * (log_choice - log_choice.detach())).mean(1)


def _above_others(values: Tensor, dim: int) -> Tensor:
    """``values``, from each the mean of the others along ``dim`` subtracted, where there are others."""
    count = values.shape[dim]
    return values if count == 1 else (values - values.mean(dim, keepdim=True)) * (count / (count - 1))


def violations(ratios: Tensor, margin: float) -> Tensor:
    """``sum_g max(ratio_g - margin, 0)`` over the gates, ``(...)``, of ratios ``(..., gates)``.

    A hinge and not its square: single draws that are far off must not outweigh all others.
    """
    return (ratios - margin).clamp_min(0).sum(-1)


@recorded
class SetObjective:
    """``gate_weight * violation - coverage`` of sets of draws, for the last part of a training.

    A likelihood trains each draw alone, so draws of one condition leave gaps between them, and lie beyond the gates
    here and there. In this part the draws of a condition start from one shifted Sobol set, as in use, and are trained
    together: for :func:`smooth_coverage`, subject to the gates, of which :func:`violations` are the penalty. The
    gradient flows through ``f``. The width falls to little more than that of a bin, which spreads the draws first and
    then makes them fill the bins, and the weight of the gates rises, a penalty method (Nocedal & Wright 2006, chapter
    17). Choices among components, through which no gradient flows, learn by :func:`choice_term`.
    Coverage looks at one coordinate at a time, so it does not ask for every branch of solutions. The choices therefore
    lower ``distance_weight * distance`` as well, where the distance is that of the solution that a condition was made
    of to the nearest draw, valid or not: the criterion of implicit maximum likelihood estimation (Li & Malik 2018),
    here for the choices alone. That solution lies on a branch as often as the branch has a share of the solutions, so
    one without draws costs that often.
    The CVAE's own loss is kept beside it, on the same conditions, so that the latent stays what the encoder finds.

    Args:
        weight: of the set objective beside the CVAE's own loss; 0 leaves it out.
        start: share of training before it comes in.
        draws: smallest and largest number of draws in a set; each step takes one number between them, at random and
            evenly on a logarithmic scale.
        size: draws in one step, of all conditions together.
        margin: share of a gate from which on a violation counts.
        width: width of a bin at the start and at the end, as a share of the range of a coordinate.
        gate_weight: weight of the violations at the start and at the end.
        distance_weight: weight of the distance, for choices.

    Raises:
        UserError: for a value that makes no sense.
    """

    def __init__(
        self,
        weight: float,
        start: float = 0.3,
        draws: Sequence[int] = (2, 100),
        size: int = 1440,
        margin: float = 0.97,
        width: Sequence[float] = (0.1, 0.03),
        gate_weight: Sequence[float] = (1.0, 10.0),
        distance_weight: float = 0.0,
    ) -> None:
        name = "loss.set_objective"
        for entry, value in {"weight": weight, "distance_weight": distance_weight}.items():
            if not 0 <= value < math.inf:
                raise UserError(f"{name}.{entry} is {value}; it must be a number of at least 0.")
        if not 0 <= start < 1:
            raise UserError(f"{name}.start is {start}; it is a share of training, at least 0 and below 1.")
        if not (len(draws) == 2 and 2 <= draws[0] <= draws[1]):
            raise UserError(
                f"{name}.draws is {list(draws)}; it must be [fewest, most], with at least 2 draws in a set."
            )
        if size < draws[1]:
            raise UserError(f"{name}.size is {size}; it must be at least the {draws[1]} draws of the largest set.")
        if not 0 < margin <= 1:
            raise UserError(f"{name}.margin is {margin}; it is a share of a gate, above 0 and at most 1.")
        for entry, ends in {"width": width, "gate_weight": gate_weight}.items():
            if not (len(ends) == 2 and all(0 < one < math.inf for one in ends)):
                raise UserError(f"{name}.{entry} is {list(ends)}; it must be two positive numbers, [start, end].")
        self.weight, self.start, self.size, self.margin = weight, start, size, margin
        self.distance_weight = distance_weight
        self.draws, self.width, self.gate_weight = tuple(draws), tuple(width), tuple(gate_weight)

    def active(self, progress: Progress) -> bool:
        """Whether sets are trained at a step."""
        return self.weight > 0 and progress.share >= self.start

    def draws_at(self, generator: torch.Generator) -> int:
        """The number of draws in each set of a step."""
        fewest, most = self.draws
        share = torch.rand((), generator=generator, device=generator.device).item()
        return round(geometric(share, fewest, most))

    def __call__(
        self,
        problem: Problem,
        network: LatentNetwork,
        x: Tensor,
        y: Tensor,
        progress: Progress,
        generator: torch.Generator,
    ) -> Sets:
        """What sets of draws for the first of the conditions cost.

        Args:
            problem: space, forward operator and gates.
            network: makes the draws.
            x: a solution of each of the conditions, ``(batch, *x_shape)``.
            y: conditions ``(batch, *y_shape)``, of which as many are used as ``size`` allows.
            progress: where training is.
            generator: source of the number of draws, of the shifts of their points and of the coordinates.
        """
        draws = self.draws_at(generator)
        count = max(self.size // draws, 1)
        x, y = x[:count], y[:count]
        done = (progress.share - self.start) / (1 - self.start)
        points = sobol_points(len(y), draws, network.noise_dim, generator).to(y)
        drawn = network.draw(y, points)
        u = problem.space.coordinates(drawn)
        some: Tensor | slice = slice(None)
        if u.shape[-1] > COORDINATES:
            some = torch.randperm(u.shape[-1], generator=generator, device=generator.device)[:COORDINATES]
            u = u[..., some]
        width, gate_weight = geometric(done / NARROWED, *self.width), geometric(done, *self.gate_weight)
        gain = smooth_coverage(u, width)
        each = violations(problem.gate_ratios(drawn, y.unsqueeze(1)), self.margin)
        violation = each.mean(1)
        cost = gate_weight * violation - gain
        log_choice = network.log_choice(y, points)
        if log_choice is not None:
            nearer = brought_nearer(u, problem.space.coordinates(x)[..., some])
            lost = leave_one_out(u, width) + self.distance_weight * nearer
            cost = cost + choice_term(draws * lost, gate_weight * each.clamp_max(FARTHEST), log_choice)
        return Sets(cost, gain, violation)
