"""The parts of the benchmark of speed but for the growth; their arguments are the entries of ``conf/speed.yaml``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import cast

import hydra
import torch
from common import Row, trained, unseen
from loops import Epochs, Turns, train_unseen
from timing import finding, in_turns, ratio, timed
from torch import Tensor

from cvae import CVAE
from cvae.errors import UserError
from cvae.generation import Plan, generate
from cvae.networks import GaussianCVAE
from cvae.runs.settle import settle
from cvae.runs.train import build

ROOT = Path(__file__).resolve().parents[2]

#: what was promised: shares of the bare loop's speed by batch size, and multiples of that of the usual loop
BARE_GOALS, USUAL_GOAL = {100: 0.85, 512: 0.95}, 2.0
#: solutions per second over those of the starter's loop, by draws for each condition; seconds for the scoring set
BULK_GOALS, SCORING_GOAL = {2_000: 500.0}, 10.0
#: largest share of an epoch that validation takes
VALIDATION_GOAL = 0.10
#: seconds of ``train.py --help``; imports of torch and Lightning per import of cvae
HELP_GOAL, IMPORT_GOAL = 3.0, 1 / 1.2
#: calls of the decoder that stand for all of those of a loop, which are alike
CALLS = 500
#: everything is logged, but there is little to validate
LITTLE_VALIDATION = (
    "data.source.validation=64",
    "data.evaluation.validation=4",
    "data.evaluation.references=0",
    "test=false",
)


def model_overrides(model: str) -> list[str]:
    """Overrides that choose a model and little validation, without the look at the problem that the recipe takes."""
    chosen = "experiment=starter" if model == "starter" else f"model={model}"
    separate = str(model == "mixture").lower()
    return [chosen, f"recipe.separate={separate}", "recipe.y_term=true", *LITTLE_VALIDATION]


def training(
    models: list[str],
    batch_sizes: list[int],
    samples: int,
    block: int,
    seconds: float,
    overrides: list[str],
) -> list[Row]:
    """Training samples per second next to a bare loop, for each model and batch size."""
    rows = []
    for model in models:
        for size in batch_sizes:
            turns = _turns(model, size, samples, block, seconds, overrides)
            rows.append(ratio("training", f"{model}, batch {size}", turns.ours, turns.theirs, BARE_GOALS.get(size)))
    return rows


def starter(samples: int, block: int, seconds: float, overrides: list[str]) -> list[Row]:
    """Training samples per second of the starter's network next to a loop as it is usually written."""
    turns = _turns("starter", 100, samples, block, seconds, overrides, usual=True)
    return [ratio("starter", "starter, batch 100, to the usual loop", turns.ours, turns.theirs, USUAL_GOAL)]


def _turns(
    model: str, batch_size: int, samples: int, block: int, seconds: float, overrides: list[str], usual: bool = False
) -> Turns:
    sizes = [f"data.batch_size={batch_size}", f"data.source.train={samples}"]
    turns = Turns(max(round(block / batch_size), 1), seconds, usual)
    train_unseen(hydra.compose("train", [*model_overrides(model), *sizes, *overrides]), turns)
    return turns


def generation(
    models: list[str], conditions: int, draws: list[int], candidates: int, rounds: int, epochs: int
) -> list[Row]:
    """Solutions per second of untrained models in bulk next to one at a time, and the seconds that the default model
    takes for a whole scoring set."""
    rows = []
    published = _model("starter", 0)
    for name in models:
        model = _model(name, 0)
        y = unseen(model.problem, conditions, 0).y
        for count in draws:
            laps = _bulk_in_turns(model, published, y, count, rounds)
            for ours, theirs, goal in (
                ("bulk", "starter's loop", BULK_GOALS.get(count)),
                ("bulk", "own loop", None),
                ("checked bulk", "own loop", None),
            ):
                what = f"{name}, {conditions} y x {count} draws, {ours} to {theirs}"
                rows.append(ratio("generation", what, laps[ours], laps[theirs], goal))
    model = _model("film", epochs)
    plan = Plan(draws=30, candidates=candidates, refine_steps=15)
    scoring_set = partial(generate, model, model.problem, unseen(model.problem, conditions, 0).y, plan, separate=False)
    laps = in_turns({"set": lambda: timed(scoring_set)}, rounds)
    what = f"scoring set: {conditions} y x {candidates} candidates, refined, best 30"
    return [*rows, finding("generation", what, laps["set"], "s", SCORING_GOAL)]


def _bulk_in_turns(model: CVAE, published: CVAE, y: Tensor, draws: int, rounds: int) -> dict[str, list[float]]:
    """Seconds for one solution, drawn in bulk, also checked, or one at a time by either model."""
    solutions = len(y) * draws
    bulk = partial(model.draw, y, draws, torch.Generator().manual_seed(0))
    checked = partial(generate, model, model.problem, y, Plan(draws=draws), separate=False)
    bulk()
    measures = {
        "starter's loop": lambda: timed(lambda: one_at_a_time(published, y)) / CALLS,
        "own loop": lambda: timed(lambda: one_at_a_time(model, y)) / CALLS,
        "bulk": lambda: timed(bulk) / solutions,
        "checked bulk": lambda: timed(checked) / solutions,
    }
    return in_turns(measures, rounds)


@torch.no_grad()
def one_at_a_time(model: CVAE, y: Tensor) -> None:
    """What public code usually does: one condition and one latent sample in each call of the decoder."""
    network = model.network
    for number in range(CALLS):
        one = y[number % len(y)].unsqueeze(0)
        if isinstance(network, GaussianCVAE):
            network.decoder(torch.randn(1, 1, network.latent_dim), network.y_scaler(one))
        else:
            network.draw(one, torch.rand(1, 1, network.noise_dim))


def _model(name: str, epochs: int) -> CVAE:
    """A model after some epochs of training, in evaluation mode; 0 leaves its first weights."""
    if epochs == 0:
        return cast(CVAE, build(settle(hydra.compose("train", model_overrides(name))))[1].eval())
    with tempfile.TemporaryDirectory() as folder:
        cfg = hydra.compose("train", [*model_overrides(name), f"trainer.max_epochs={epochs}"])
        return cast(CVAE, trained(cfg, Path(folder))[0])


def validation(epochs: int, overrides: list[str]) -> list[Row]:
    """Share of an epoch of the default that draws, measures, pictures and checkpoints take. The first is left out,
    since it does some things once; the last draws pictures.

    Raises:
        UserError: for fewer than 2 epochs.
    """
    if epochs < 2:
        raise UserError(f"validation.epochs is {epochs}; it must be at least 2.")
    found = Epochs()
    train_unseen(hydra.compose("train", [f"trainer.max_epochs={epochs}", "test=false", *overrides]), found)
    share = sum(found.validations[1:]) / sum(found.epochs[1:])
    return [finding("validation", f"share of epochs 2 to {epochs}", [share], goal=VALIDATION_GOAL)]


def start(rounds: int) -> list[Row]:
    """Seconds of ``train.py --help`` and of imports, in processes of their own and in turns."""
    rival, imports = "import torch, lightning", ("import cvae", "from cvae import CVAE", "import cvae.runs.launch")
    words = {"--help": ["train.py", "--help"]} | {name: ["-c", name] for name in (rival, *imports)}
    call = partial(subprocess.run, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    processes = {name: partial(call, [sys.executable, *rest]) for name, rest in words.items()}
    laps = in_turns({name: partial(timed, process) for name, process in processes.items()}, rounds)
    rows = [finding("start", "python train.py --help", laps["--help"], "s", HELP_GOAL)]
    return rows + [ratio("start", f"{name}, to {rival}", laps[name], laps[rival], IMPORT_GOAL) for name in imports]
