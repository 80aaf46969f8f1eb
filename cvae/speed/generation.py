"""Generation in bulk next to one draw at a time, and the time for a whole scoring set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cvae.data import simulate
from cvae.generation import Plan, generate
from cvae.module import CVAE
from cvae.networks.base import GaussianCVAE
from cvae.seeds import stream
from cvae.speed.compose import Compose
from cvae.speed.measure import Finding, Lap, Ratio, finding_of, ratio, spread, timed
from cvae.speed.rivals import as_published
from cvae.speed.turns import trained_model

#: what was promised: solutions per second over those of the starter's loop, by draws for each condition
GOALS = {2_000: 500.0}
#: seconds for the scoring set
SCORING_GOAL = 10.0
#: calls of the decoder that stand for all of those of the loop, which are alike
CALLS = 500


@torch.no_grad()
def one_at_a_time(model: CVAE, y: Tensor, calls: int) -> None:
    """What the public starters do: one condition and one latent sample in each call of the decoder."""
    network = model.network
    for number in range(calls):
        one = y[number % len(y)].unsqueeze(0)
        if isinstance(network, GaussianCVAE):
            network.decoder(torch.randn(1, 1, network.latent_dim), network.scaler(one))
        else:
            network.draw(one, torch.rand(1, 1, network.noise_dim))


def in_bulk(model: CVAE, rival: CVAE, y: Tensor, draws: int, calls: int, rounds: int, check: bool) -> Ratio:
    """Seconds per solution of a loop over those of ``model`` in bulk, in turns.

    Args:
        model: draws in bulk.
        rival: draws one at a time; may be the same model.
        y: conditions ``(batch, conditions, points)``.
        draws: solutions for each of them.
        calls: of the rival's decoder in a turn.
        rounds: turns of each.
        check: whether the solutions drawn in bulk are also checked and measured, which the loop does not do.
    """
    generator = torch.Generator().manual_seed(0)
    plan = Plan(count=draws)

    def bulk() -> None:
        if check:
            generate(model, model.problem, y, plan, separate=False)
        else:
            model.draw(y, draws, generator)

    bulk()
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(_each(timed(lambda: one_at_a_time(rival, y, calls)), calls))
        ours.append(_each(timed(bulk), len(y) * draws))
    return ratio(ours, theirs, rounds)


def _each(lap: Lap, count: int) -> Lap:
    return Lap(lap.wall / count, lap.cpu / count)


def measure_generation(
    compose: Compose, models: Sequence[str], conditions: int, draws: Sequence[int], pool: int, rounds: int, epochs: int
) -> list[Finding]:
    """Solutions per second in bulk, and the seconds for a scoring set with the default model.

    Args:
        compose: the training config from overrides.
        models: networks whose bulk is held against the starter's loop and their own; their weights do not matter.
        conditions: observed ``y``.
        draws: draws for each of them.
        pool: draws for each of them in the scoring set, refined, of which the best 30 are kept.
        rounds: turns of each kind.
        epochs: of the default model's training before it generates a scoring set.
    """
    findings = []
    published = trained_model(compose, "starter", epochs=0)
    as_published(published.network)
    for name in models:
        model = trained_model(compose, name, epochs=0)
        y = simulate(model.problem, conditions, stream(0, 99)).y
        for count in draws:
            title = f"{name}, {conditions} y x {count} draws"
            for rival, check, words in (
                (published, False, "against the starter's loop"),
                (model, False, "against its own loop"),
                (model, True, "checked, against its own loop"),
            ):
                measured = in_bulk(model, rival, y, count, CALLS, rounds, check)
                goal = GOALS.get(count) if rival is published else None
                findings.append(finding_of("generation", f"{title}, {words}", measured, goal))
    model = trained_model(compose, "dense", epochs)
    y = simulate(model.problem, conditions, stream(0, 99)).y
    plan = Plan(count=30, pool=pool, refine_steps=15)
    laps = [timed(lambda: generate(model, model.problem, y, plan, separate=False)) for _ in range(rounds)]
    solutions = generate(model, model.problem, y, plan, separate=False)
    wall, cpu = spread([lap.wall for lap in laps]), spread([lap.cpu for lap in laps])
    stages = {stage: row._asdict() for stage, row in solutions.stages.items()}
    details = {"wall": wall._asdict(), "cpu": cpu._asdict(), "threads": torch.get_num_threads(), "stages": stages}
    title = f"scoring set: {conditions} y x {pool} draws, refined, best 30"
    findings.append(Finding("generation", title, wall.median, "s", SCORING_GOAL, True, details))
    return findings
