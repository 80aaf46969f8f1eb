"""The command ``cvae``, and each of its commands as a Hydra application.

Nothing heavy is imported before Hydra has read the command line: help and shell completion answer at once.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

import hydra
from omegaconf import DictConfig

from cvae.config import config_folder
from cvae.errors import clear_errors
from cvae.runs.names import check_choices
from cvae.runs.stops import stoppable

#: what each command does; its body is ``run`` of the module of the same name, its config the file of the same name
COMMANDS = {
    "train": "train a model: cvae train data=two_birds model=deep",
    "generate": "solutions for observed conditions: cvae generate checkpoint=best.ckpt condition=y.csv out=x.npz",
    "score": "score a file of solutions: cvae score file=result.pt data=product",
    "submit": "write a submission bundle: cvae submit checkpoint=best.ckpt conditions=y.npz out=bundle",
    "compare": "compare runs: cvae compare dir=outputs/multirun/first",
    "tune": "search for hyperparameters: cvae tune \"overrides=['trainer.max_epochs=10']\"",
}
COMPLETION = "-sc"


def call(name: str) -> None:
    """Run one command with the words of ``sys.argv``, which Hydra reads."""

    def task(cfg: DictConfig) -> Any:
        if name != "train" and "lightning" not in sys.modules:
            # not on stdout, of which programs read the last line; a training says it in its log
            print(
                "importing PyTorch and Lightning: seconds, or a minute on a busy machine.", file=sys.stderr, flush=True
            )
        return import_module(f"cvae.commands.{name}").run(cfg)

    with clear_errors():
        check_choices(sys.argv[1:])
    # Hydra names the job, and its log, after the module of its function
    task.__module__ = f"cvae.commands.{name}"
    try:
        with stoppable():
            hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=name)(task)()
    finally:
        # at its end Python would look through all that was imported for cycles, seconds on a busy machine; what is
        # left in a cycle is never finalised, so that files must be closed by then, as with ``with``
        gc.freeze()


def main() -> None:
    """The command ``cvae``: the first word chooses the command, the others are for Hydra."""
    program, *words = sys.argv
    if words == [COMPLETION]:
        raise SystemExit(f"cvae: {COMPLETION} is for completion in a shell: {COMPLETION} install=bash.")
    if words[:1] == [COMPLETION]:
        _complete(words[-1])
    elif words == ["--version"]:
        print(f"cvae {version('cvae')}")
    elif not words or words[0] in ("-h", "--help"):
        print(_help())
    elif words[0] in COMMANDS:
        sys.argv = [program, *words[1:]]
        call(words[0])
    else:
        raise SystemExit(f"cvae: {words[0]!r} is no command; choose one of {', '.join(COMMANDS)}.")


def _help() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        f"usage: cvae COMMAND [entry=value ...]\n\n{listed}\n\ncvae COMMAND --help shows the config of a command; "
        "--config-dir FOLDER adds configs of your own, --version shows the version. Completion of words in this shell: "
        f'eval "$(cvae {COMPLETION} install=bash)"'
    )


def _complete(request: str) -> None:
    """Answer the shell: the names of commands, and after one of them what Hydra completes."""
    name = "train"
    if request.startswith("query"):
        # the shell asks for the words of COMP_LINE, of which Hydra expects no command
        program, _, rest = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
        found = re.match(r"\s*(\w+)\s(.*)", rest)
        if found is None or found[1] not in COMMANDS:
            print(" ".join(COMMANDS) if " " not in rest.lstrip() else "")
            return
        name = found[1]
        os.environ["COMP_LINE"] = f"{program} {found[2]}"
    call(name)
