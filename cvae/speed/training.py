"""Training samples per second next to a bare loop, and next to the usual way of the public starters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from cvae.speed.compose import Compose, training_overrides
from cvae.speed.measure import Finding, finding_of, ratio
from cvae.speed.rivals import BareLoop, UsualWay
from cvae.speed.turns import in_turns

#: of the bare loop's speed, by batch size; what was promised
GOALS = {100: 0.85, 512: 0.95}
USUAL_GOAL = 2.0


def measure_training(
    compose: Compose,
    models: Sequence[str],
    batch_sizes: Sequence[int],
    samples: int,
    block_items: int,
    seconds: float,
    index_select: bool,
    overrides: Sequence[str] = (),
) -> list[Finding]:
    """Samples per second next to the bare loop, for each model and batch size.

    Args:
        compose: the training config from overrides.
        models: names of networks.
        batch_sizes: to try with each.
        samples: triples of an epoch.
        block_items: triples in a turn, roughly.
        seconds: of both loops together, after which the epoch is the last.
        overrides: further ones of every training, such as ``trainer=gpu``.
        index_select: let the bare loop pick the samples of a batch as our loader does, not by ``x[index]``.
    """
    findings = []
    bare = partial(BareLoop, index_select=index_select)
    for model in models:
        for batch_size in batch_sizes:
            cfg = compose([*training_overrides(model, batch_size, samples), *overrides])
            turns, _ = in_turns(cfg, bare, block_items, seconds)
            measured = ratio(turns.ours, turns.theirs, turns.items)
            findings.append(finding_of("training", f"{model}, batch {batch_size}", measured, GOALS.get(batch_size)))
    return findings


def measure_usual(
    compose: Compose, samples: int, block_items: int, seconds: float, overrides: Sequence[str] = ()
) -> list[Finding]:
    """Samples per second of the starter's network at batch 100 next to the usual way."""
    cfg = compose([*training_overrides("starter", 100, samples), *overrides])
    turns, _ = in_turns(cfg, UsualWay, block_items, seconds)
    measured = ratio(turns.ours, turns.theirs, turns.items)
    return [finding_of("starter", "starter, batch 100, against the usual way", measured, USUAL_GOAL)]
