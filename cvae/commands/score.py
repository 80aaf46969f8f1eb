"""Score a file of solutions: ``cvae score file=result.pt data=two_birds``.

The last line of the output is a JSON object.
"""

from __future__ import annotations

from typing import TypedDict

from omegaconf import DictConfig

from cvae.challenge.score import score_file
from cvae.errors import UserError, clear_errors
from cvae.runs.options import check_command
from cvae.runs.settle import task_of
from cvae.show.tables import print_scores
from cvae.tasks import Problem


class Options(TypedDict):
    """Types of the options."""

    file: str
    draws: int


def run(cfg: DictConfig) -> None:
    """Measure one file and print the result."""
    with clear_errors():
        check_command(cfg, Options)
        task = task_of(cfg.get("data"))
        if not isinstance(task, Problem):
            raise UserError("data has no forward operator, so solutions cannot be checked; name an inverse problem.")
        scores = score_file(str(cfg.file), task, cfg.draws)
        print_scores(scores.content, scores.hint)
