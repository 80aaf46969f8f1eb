"""Trainings whose loss or weights are no numbers any more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning import LightningModule
from torch import Tensor

from cvae.errors import DivergedError


def check_finite(model: LightningModule, terms: Tensor, names: Sequence[str], *, steps: int, weights: bool) -> None:
    """Raise an error in all processes if the loss of a step, or a weight, is not finite in one of them.

    It waits for the device once.

    Args:
        model: in a training.
        terms: ``(steps, terms)``, sums over the batches of the last steps.
        names: of the terms, ``loss`` among them.
        steps: how many there have been in this epoch.
        weights: whether these are looked at as well.

    Raises:
        DivergedError: with the first step, what is not finite, and what to try.
    """
    finite = terms.isfinite()
    bad = [~finite[:, list(names).index("loss")]]
    parameters = dict(model.named_parameters()) if weights else {}
    bad += [~value.isfinite().all().view(1) for value in parameters.values()]
    found = torch.cat(bad).tolist()
    if not model.trainer.strategy.reduce_boolean_decision(any(found), all=False):
        return
    wrong = [step for step, is_bad in enumerate(found[: len(terms)]) if is_bad]
    if wrong:
        what = [name for name, is_finite in zip(names, finite[wrong[0]].tolist(), strict=True) if not is_finite]
        step = steps - len(terms) + wrong[0] + 1
    else:
        what = [name for name, is_bad in zip(parameters, found[len(terms) :], strict=True) if is_bad][:1]
        step = steps
    told = ", ".join(what) or "the loss in another process"
    first = model.current_epoch == 0 and step == 1 and bool(wrong)
    where = f"step {step} of epoch {model.current_epoch + 1}"
    raise DivergedError(f"the training diverged: not finite in {where}: {told}. {_advice(model, first)}")


def _advice(model: LightningModule, first: bool) -> str:
    """What to try; ``first``: the loss of the very first step was not finite."""
    if first:
        return (
            "No weight had been changed by then: lower what the terms of the loss are multiplied by (loss.beta, "
            "loss.wx, loss.wy), or look for extreme values in the data."
        )
    group = model.trainer.optimizers[0].param_groups[0]
    return (
        f"Lower optimizer.lr (now {group.get('initial_lr', group['lr']):g}) by factors of ten; if that does not help, "
        "lower what the terms of the loss are multiplied by (loss.beta, loss.wx, loss.wy)."
    )
