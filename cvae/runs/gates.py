"""What f makes of the prior, and the gate of the misfit related to the scale of y, before a run begins."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from cvae.errors import UserError
from cvae.tasks import Lines, Problem
from cvae.tasks.spread import flat_share, ignored_shares, prior_simulations, rounding, singularity, spread

log = logging.getLogger(__name__)

#: share of the spread of y that ``data.gates.rmse=auto`` takes, of lines and of vectors: about what ``product`` and
#: ``sine_wave`` have. A curve is met at all of its points at once, a single number is soon met by chance
AUTO_LINES, AUTO_VECTORS = 0.3, 0.05
#: shares of the spread above which a gate tells little, and below which plain draws of a network hardly pass
LOOSE, TIGHT = 0.5, 0.01
#: share of the squares in a thousandth of the values from which f counts as singular
SINGULAR = 0.35
#: share of the prior on which f may ignore a variable in silence: a maximum of two ignores each on half of it
IGNORED = 0.9
#: units in the last place by which f is uncertain, at least
ROUNDING = 8


def tell_forward(problem: Problem) -> None:
    """Warn where f ignores a variable, or is not finite on a part of the prior.

    Args:
        problem: gives f and the prior.

    Raises:
        UserError: if f is the same for all x, so that there is nothing to invert, or finite nowhere.
    """
    _, y = prior_simulations(problem)
    finite = y.isfinite().flatten(1).all(1)
    name, variables = f"data.forward: {problem.forward.name}", "line" if isinstance(problem.space, Lines) else "entry"
    place = "data.range" if isinstance(problem.space, Lines) else "data.bounds"
    if not finite.any():
        raise UserError(f"{name} is not finite for any x of the prior; change the expression, {place} or data.prior.")
    if bool((spread(y := y[finite]) <= rounding(y).squeeze(1)).all()):
        raise UserError(f"{name} is the same for all x, so that y tells nothing about them; use x0, x1, ... in it.")
    if not finite.all():
        share = _percent(float((~finite).double().mean()), 1)
        log.warning(
            "%s is not finite for %s of the prior, where no y can be simulated or checked; change the expression, %s "
            "or data.prior.", name, share, place,
        )  # fmt: skip
    for number, share in enumerate(ignored_shares(problem).tolist()):
        if share > IGNORED:
            log.warning(
                "%s does not depend on x%d for %s of the prior: y tells nothing about that %s, and solutions spread "
                "over its whole range.", name, number, _percent(share, 1), variables,
            )  # fmt: skip


def auto_gate(problem: Problem, y: Tensor) -> float:
    """The gate that ``auto`` stands for, in two digits: a share of the smallest spread of all conditions.

    Args:
        problem: tells lines from vectors.
        y: ``(count, conditions, values)``.

    Raises:
        UserError: if y does not vary, or none of it is finite.
    """
    varying = [value for value in spread(y).tolist() if 0 < value < math.inf]
    if not varying:
        raise UserError("data.gates.rmse is auto, a share of the spread of y; y does not vary: change data.forward.")
    share = AUTO_LINES if isinstance(problem.space, Lines) else AUTO_VECTORS
    return float(f"{share * min(varying):.2g}")


def tell_gate(problem: Problem, y: Tensor, source: str) -> None:
    """Say how the gate compares with the spread of y, and warn where it, or f, makes little sense.

    Args:
        problem: gives the gate.
        y: ``(count, conditions, values)``.
        source: where they are from.
    """
    log.info("%s", described(problem, y, source))
    for warning in warnings(problem, y):
        log.warning("%s", warning)


def described(problem: Problem, y: Tensor, source: str) -> str:
    """Gate and spread of each condition, in one line."""
    gate = problem.gates.rmse
    parts = []
    for name, value, flat in zip(_names(problem), spread(y).tolist(), flat_share(y, gate).tolist(), strict=True):
        text = f"{name} spreads by {value:.3g}, of which the gate is {_percent(gate, value)}"
        if y.shape[-1] > 1:
            text += f", and a constant at its mean passes for {_percent(flat, 1)} of all {name}"
        parts.append(text)
    return f"gates.rmse is {gate:g}: {'; '.join(parts)} (spread: RMSE against the mean of y over {source})."


def warnings(problem: Problem, y: Tensor) -> list[str]:
    """What is wrong with f or the gate, and what to do."""
    gate, values, names = problem.gates.rmse, spread(y), _names(problem)
    constant = (values <= rounding(y).squeeze(1)).tolist()
    squares, largest = singularity(y), y.abs().amax((0, 2)) if len(y) else torch.zeros(len(names))
    place = "data.range" if isinstance(problem.space, Lines) else "data.bounds"
    found = []
    for number, name in enumerate(names):
        value, share = float(values[number]), float(squares[number])
        ratio = gate / value if value > 0 else math.inf
        if not value < math.inf:
            continue  # the simulation of the pairs tells what is not finite
        if constant[number]:
            found.append(f"{name} is the same for all x, so that it tells nothing about them; change data.forward.")
        elif share > SINGULAR:
            found.append(
                f"data.forward: {problem.forward.name} is nearly singular: a thousandth of the values of {name}, up to "
                f"{float(largest[number]):.2g}, holds {_percent(share, 1)} of their squared distances from the median. "
                f"Loss, spread and search follow these few; keep them out with {place} or data.prior, or bound the "
                "expression."
            )
        elif ratio > LOOSE:
            found.append(
                f"gates.rmse is {gate:g}, {_percent(gate, value)} of the spread of {name}: what passes says little "
                f"about {name}, and valid and score are high for any model. {_remedy(problem, y)}; where y is noisy, "
                "the noise level is a gate that means something."
            )
        elif gate < ROUNDING * torch.finfo(torch.float32).eps * float(largest[number]):
            found.append(
                f"gates.rmse is {gate:g}, but {name} reaches {float(largest[number]):.2g}, which single precision does "
                f"not resolve so finely: nothing can pass. {_remedy(problem, y)}."
            )
        elif ratio < TIGHT:
            found.append(
                f"gates.rmse is {gate:g}, {_percent(gate, value)} of the spread of {name}: hardly any plain draw of a "
                f"network comes so near, so that valid and score stay near 0. {_remedy(problem, y)}; "
                "generation=complete refines what is drawn."
            )
    return found


def _remedy(problem: Problem, y: Tensor) -> str:
    """The gate that ``auto`` takes, unless it is too small for the condition that spreads most."""
    gate, varying = auto_gate(problem, y), [value for value in spread(y).tolist() if 0 < value < math.inf]
    if gate >= TIGHT * max(varying):
        return f"data.gates.rmse=auto takes {gate:g}"
    return (
        f"No gate suits all conditions, which spread by {min(varying):.3g} to {max(varying):.3g}: multiply them in "
        "data.forward by factors that make their spreads alike"
    )


def _names(problem: Problem) -> list[str]:
    count = problem.forward.conditions
    return ["y"] if count == 1 else [f"y[{number}]" for number in range(count)]


def _percent(part: float, whole: float) -> str:
    share = 100 * part / whole if whole > 0 else math.inf
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
