"""Write a submission bundle in the challenge's layout, and check it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.challenge.parameters import hyperparameters, parameters, plain_config, write_yaml
from cvae.challenge.score import Scores, score_file
from cvae.challenge.source import Name, standalone_source
from cvae.challenge.standalone import PARAMETERS, RESULT, plain_draws
from cvae.data.layout import to_challenge
from cvae.generation import Plan, generate
from cvae.module import CVAE

HYPERPARAMETERS = "best_hyperparameters.yaml"
ARCHITECTURE = "CVAE_architecture.py"
BUNDLE = (RESULT, HYPERPARAMETERS, PARAMETERS, ARCHITECTURE)

TITLE = f"""A conditional variational autoencoder that finds all solutions of an inverse problem.

Needs torch and yaml only. The network's config and weights lie beside this file in {PARAMETERS}, its draws in
{RESULT}. Run it to make the draws again and compare:

    python {ARCHITECTURE}

or use it on other conditions ``y`` of shape (batch, conditions, points):

    parameters = read_parameters(Path("."))
    network = load_network(parameters, TARGETS)
    x = plain_draws(network, y, points="sobol", count=30, seed=0, chunk=65536)
"""
ENDING = """if __name__ == "__main__":
    sys.exit(check_bundle(Path(__file__).resolve().parent, TARGETS))"""


def write_bundle(
    model: CVAE, y: Tensor, plan: Plan, out: str | Path, checkpoint: str | Path, *, force: bool = False
) -> Scores:
    """Generate, write and check a bundle; ``out`` is touched only when everything is right.

    Args:
        model: the trained model.
        y: conditions ``(batch, conditions, points)``.
        plan: how solutions are generated.
        out: the folder; a bundle that is there is replaced.
        checkpoint: where the model comes from; the record of its run is looked for beside it.
        force: write into a folder that holds other things; they stay.

    Raises:
        FileExistsError: if ``out`` holds anything but a bundle, and not ``force``.
        ValueError: if the bundle is not what it should be.
    """
    out = Path(out)
    _check_folder(out, force)
    x, settings = draws_for(model, y, plan)
    with _folder_beside(out) as folder:
        torch.save(TensorDataset(to_challenge(x.flatten(0, 1)), challenge_y(y, plan.count)), folder / RESULT)
        write_yaml(folder / HYPERPARAMETERS, hyperparameters(model, Path(checkpoint)))
        write_yaml(folder / PARAMETERS, parameters(model, plan, settings))
        (folder / ARCHITECTURE).write_text(architecture(model), encoding="utf-8")
        scores = check(folder, model, len(y), plan.count)
        _move(folder, out)
    return scores


def draws_for(model: CVAE, y: Tensor, plan: Plan) -> tuple[Tensor, dict[str, Any]]:
    """Solutions ``(batch, draws, lines, points)``, and what the standalone file has to know about them.

    That is the arguments of :func:`~cvae.challenge.standalone.plain_draws` and the last ``stage`` of generation:
    ``draw`` for plain draws, which the file makes again.
    """
    settings: dict[str, Any] = {"count": plan.count, "seed": plan.seed, "chunk": plan.chunk}
    points = plain_config(model)["evaluation"].get("points", "random")
    temperature = model.temperature if plan.temperature is None else plan.temperature
    if plan == Plan(**settings, temperature=plan.temperature):
        # the very function that the standalone file runs
        x, stage = plain_draws(model.network, y, points, **settings, temperature=temperature), "draw"
    else:
        solutions = generate(model, model.problem, y, plan)
        x, stage = solutions.x, list(solutions.stages)[-1]
    return x, {"points": points, **settings, "temperature": temperature, "stage": stage}


def challenge_y(y: Tensor, draws: int) -> Tensor:
    """Conditions as the challenge's files have them, each ``draws`` times in a row.

    ``(count, points)`` for one condition, ``(count, 1, points, conditions)`` for several.
    """
    repeated = y.repeat_interleave(draws, dim=0)
    return repeated[:, 0].contiguous() if y.shape[1] == 1 else to_challenge(repeated)


def architecture(model: CVAE) -> str:
    """Source of the standalone file for this model's network."""
    targets = sorted(set(_targets(plain_config(model)["model"])))
    module = plain_draws.__module__
    roots = [Name(module, name) for name in ("read_parameters", "load_network", "plain_draws", "check_bundle")]
    return standalone_source(targets, roots, TITLE, ENDING)


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield config["_target_"]
        for value in config.values():
            yield from _targets(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _targets(value)


def check(folder: Path, model: CVAE, conditions: int, draws: int) -> Scores:
    """Score the bundle's result and run its standalone file.

    Args:
        folder: the bundle.
        model: what it was made with.
        conditions: how many it should hold.
        draws: how many solutions for each.

    Raises:
        ValueError: if the result has not the shapes of the challenge, or the file fails or draws something else.
    """
    geometry = model.problem.geometry
    with torch.serialization.safe_globals([TensorDataset]):
        x = torch.load(folder / RESULT, weights_only=True).tensors[0]
    wanted = (conditions * draws, 1, geometry.points, geometry.lines)
    if x.shape != wanted:
        raise ValueError(f"{RESULT}: x has shape {tuple(x.shape)}; the challenge wants {wanted}.")
    scores = score_file(folder / RESULT, model.problem, draws)
    # -I: neither the working directory nor the user's settings may help
    command = [sys.executable, "-I", str((folder / ARCHITECTURE).resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ValueError(f"{ARCHITECTURE}: does not make the draws of {RESULT} again ({' '.join(last)}).")
    return scores


def _check_folder(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"out is {out}, which is a file; name a folder.")
    others = sorted(path.name for path in out.iterdir() if path.name not in BUNDLE) if out.is_dir() else []
    if others and not force:
        raise FileExistsError(
            f"out is {out}, which holds {others[0]!r} and is no bundle; name another folder, or write the bundle's "
            "files beside what is there with force=true."
        )


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A temporary folder on the same disk as ``out``, gone afterwards."""
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=f".{out.name}."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, out: Path) -> None:
    """Put the files of ``folder`` into ``out``, each whole; a new ``out`` appears at once with all of them."""
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o755)
    if not out.exists():
        folder.rename(out)
        return
    for name in BUNDLE:
        (folder / name).replace(out / name)
