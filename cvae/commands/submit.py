"""Write a submission bundle: ``cvae submit checkpoint=best.ckpt conditions=y.pt out=submission``.

The bundle is checked before it is put in place; the last line of the output is the JSON object of its score.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TypedDict

from omegaconf import DictConfig

from cvae.challenge.submit import ARCHITECTURE, write_bundle
from cvae.command_lines import shown
from cvae.data.files import read_conditions
from cvae.errors import UserError, clear_errors
from cvae.models import CVAE
from cvae.runs.options import check_command
from cvae.runs.settle import plan_of
from cvae.seeds import check_seed
from cvae.show.tables import print_scores


class Options(TypedDict):
    """Types of the options."""

    checkpoint: str
    conditions: str
    out: str | int
    draws: int
    seed: int
    force: bool
    allow: list[str]


def run(cfg: DictConfig) -> None:
    """Generate, write, check and print."""
    with clear_errors():
        check_command(cfg, Options)
        check_seed("seed", cfg.seed)
        plan, checkpoint, out = plan_of(cfg.get("generation")), str(cfg.checkpoint), str(cfg.out)
        if not out:
            raise UserError("out is empty; name the folder of the bundle, out=bundle.")
        model = CVAE.load(checkpoint, cfg.allow)
        y = read_conditions(str(cfg.conditions), model.problem)
        scores = write_bundle(model, y, plan, out, checkpoint, force=cfg.force)
        print(f"bundle: {out}")
        print_scores(scores.content, scores.hint, shlex.join(["python", shown(Path(out, ARCHITECTURE))]))
