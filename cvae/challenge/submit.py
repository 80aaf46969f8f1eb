"""Write a submission bundle in the challenge's layout, and check it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.archives import save
from cvae.challenge.parameters import hyperparameters, parameters, plain_config, write_yaml
from cvae.challenge.score import Scores, score_file
from cvae.challenge.source import standalone_source
from cvae.challenge.standalone import PARAMETERS, RESULT
from cvae.data.layout import challenge_x, challenge_y
from cvae.errors import UserError
from cvae.files import check_output, named
from cvae.generation import Plan, generate
from cvae.models import CVAE

HYPERPARAMETERS = "best_hyperparameters.yaml"
ARCHITECTURE = "CVAE_architecture.py"
BUNDLE = (RESULT, HYPERPARAMETERS, PARAMETERS, ARCHITECTURE)

TITLE = f"""A conditional variational autoencoder that finds all solutions of an inverse problem.

Needs torch and yaml only. The network's config and weights lie beside this file in {PARAMETERS}, its draws in
{RESULT}. Run it to make the draws again and compare:

    python {ARCHITECTURE}

or use it on other conditions ``y`` of shape (batch, *y_shape):

    parameters = read_parameters(Path("."))
    network = load_network(parameters, TARGETS)
    x = draw(network, y, **parameters["sampling"])
"""
ENDING = """if __name__ == "__main__":
    try:
        raise SystemExit(check_bundle(Path(__file__).resolve().parent, TARGETS))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None"""


def write_bundle(
    model: CVAE, y: Tensor, plan: Plan, out: str | Path, checkpoint: str | Path, *, force: bool = False
) -> Scores:
    """Generate, write and check a bundle; ``out`` is touched only when everything is right.

    Args:
        model: the trained model.
        y: conditions ``(batch, *y_shape)``.
        plan: how solutions are generated.
        out: the folder; a bundle that is there is replaced.
        checkpoint: where the model comes from; the record of its run is looked for beside it.
        force: write into a folder that holds other things; they stay.

    Raises:
        UserError: if ``out`` holds anything but a bundle, and not ``force``; or if the bundle cannot be made.
    """
    out = Path(out)
    _check_folder(out, force)
    check_output("out", out / RESULT)
    solutions = generate(model, model.problem, y, plan)
    with named(out):
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
    # on the same disk, so that files are moved whole
    with named(out), TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.") as beside:
        folder = Path(beside) / "bundle"
        folder.mkdir()
        rows = TensorDataset(challenge_x(solutions.x.flatten(0, 1)), challenge_y(y, plan.draws))
        save(folder / RESULT, rows)
        write_yaml(folder / HYPERPARAMETERS, hyperparameters(model, Path(checkpoint)))
        write_yaml(folder / PARAMETERS, parameters(model, plan, stage=list(solutions.stages)[-1]))
        (folder / ARCHITECTURE).write_text(architecture(model), encoding="utf-8")
        scores = score_file(folder / RESULT, model.problem, plan.draws)
        run_standalone(folder)
        _move(folder, out)
    return scores


def architecture(model: CVAE) -> str:
    """Source of the standalone file for this model's network."""
    return standalone_source(sorted(set(_targets(plain_config(model)["model"]))), TITLE, ENDING)


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield config["_target_"]
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _targets(value)


def run_standalone(folder: Path) -> None:
    """Run the standalone file of a bundle.

    Raises:
        UserError: if it fails, or draws something else than the bundle holds.
    """
    # -I: neither the working directory nor the user's settings may help
    command = [sys.executable, "-I", str((folder / ARCHITECTURE).resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise UserError(
            f"{ARCHITECTURE}: does not make the draws of {RESULT} again ({' '.join(last)}); no bundle was written. "
            "A network of your own must need torch and its own module only."
        )


def _check_folder(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"out is {out}, which is a file; name a folder.")
    others = sorted(path.name for path in out.iterdir() if path.name not in BUNDLE) if out.is_dir() else []
    if others and not force:
        raise UserError(
            f"out is {out}, which holds {others[0]!r} and is no bundle; name another folder, or write the bundle's "
            "files beside what is there with force=true."
        )


def _move(folder: Path, out: Path) -> None:
    """Put the files of ``folder`` into ``out``, each whole; a new ``out`` appears at once with all of them."""
    if not out.exists():
        folder.rename(out)
        return
    for name in BUNDLE:
        (folder / name).replace(out / name)
