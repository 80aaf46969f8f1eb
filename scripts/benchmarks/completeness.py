"""Whether estimates of unseen solutions are right: ``python scripts/benchmarks/completeness.py checkpoint=best.ckpt``.

A condition with few candidates is often incomplete, one with many hardly ever: sizes of both kinds make the curve.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import torch
from common import Row, call, command_line, footer, markdown, plans_of, show, unseen
from omegaconf import DictConfig
from torch import Tensor

from cvae.config import plain
from cvae.errors import UserError
from cvae.files import replacing
from cvae.generation import Plan, generate
from cvae.inversion import is_exact, reference_sets
from cvae.metrics import mode_hits
from cvae.models import Generative, Sampler
from cvae.show.figures import check_picture
from cvae.tasks import Problem
from cvae.tasks.figures import BLUE, ORANGE, new_figure

#: upper ends of the classes of an estimate
CLASSES = (0.01, 0.05, 0.1, 0.2, 0.4, 1.0)


class Assessed(NamedTuple):
    """Sets of solutions, one for each condition: how many solutions there are, how many are found, the estimated
    share of those that are not, and the cautious estimate; each ``(conditions,)``."""

    solutions: Tensor
    found: Tensor
    unseen: Tensor
    at_most: Tensor

    @property
    def missed(self) -> Tensor:
        """True share of the solutions that are not found."""
        return 1 - self.found / self.solutions


def completeness(
    checkpoint: str,
    conditions: int,
    seed: int,
    plans: dict[str, dict[str, Any]],
    picture: str | None,
) -> None:
    """Print one row for each plan, then the curve, and draw it.

    The arguments are the entries of ``conf/completeness.yaml``.

    Raises:
        UserError: for a model of another kind of problem, or a number that makes no sense.
    """
    if picture is not None:
        check_picture(picture)
    model = Generative.load(checkpoint)
    if not isinstance(model.task, Problem):
        raise UserError(f"{checkpoint} is a model without a forward operator, so nothing can be checked.")
    batch = unseen(model.task, conditions, seed)
    references = reference_sets(model.task, batch.y, known=model.task.space.encode(batch.x))
    if not all(reference.finite for reference in references):
        raise UserError(f"{checkpoint}: the solutions of {model.task.forward.name} are a continuum, not separate.")
    rows, assessed = [], []
    for name, plan in plans_of(plans).items():
        started = time.perf_counter()
        one = assess(model, model.task, batch.y, [reference.theta for reference in references], plan)
        rows.append({"plan": name, **summary(one), "seconds": time.perf_counter() - started})
        assessed.append(one)
    together = Assessed(*(torch.cat(parts) for parts in zip(*assessed, strict=True)))
    curves = {name: classes(together.missed, getattr(together, name)) for name in ("unseen", "at_most")}
    for title, table in (("unseen solutions by plan", rows), *curves.items()):
        show(table, title)
        print(markdown(table))
    print(f"{footer(conditions)}, seed {seed}")
    if picture is not None:
        with replacing(Path(picture)) as temporary:
            figure_of(rows, curves["at_most"]).savefig(temporary, dpi=110)


def assess(model: Sampler, problem: Problem, y: Tensor, references: Sequence[Tensor], plan: Plan) -> Assessed:
    """Generate by a plan, and count what is found of the reference sets, parameters ``(count, parameters)`` each, for
    the conditions with no more solutions than draws."""
    solutions = generate(model, problem, y, plan, separate=True)
    exact = solutions.check.valid & is_exact(problem, solutions.check.misfit)
    theta = problem.space.scaled(problem.space.encode(solutions.x))
    few = [index for index, reference in enumerate(references) if 0 < len(reference) <= plan.draws]
    found = [mode_hits(theta[index], exact[index], problem.space.scaled(references[index])) for index in few]
    told = solutions.completeness
    sizes = [len(references[index]) for index in few]
    return Assessed(torch.tensor(sizes), torch.tensor(found), told["unseen"][few], told["unseen_at_most"][few])


def summary(one: Assessed) -> Row:
    """Recall over all solutions together, the mean true and estimated shares of unseen ones, and how many of the
    incomplete sets the cautious estimate marks: those where it is above the first of the classes."""
    incomplete = one.found < one.solutions
    marked = one.at_most > CLASSES[0]
    return {
        "conditions": len(one.found),
        "recall_pooled": float(one.found.sum() / one.solutions.sum()),
        "truly unseen": float(one.missed.mean()),
        "unseen": float(one.unseen.mean()),
        "at most": float(one.at_most.mean()),
        "incomplete": int(incomplete.sum()),
        "of these marked": int((incomplete & marked).sum()),
        "complete, but marked": int((~incomplete & marked).sum()),
    }


def classes(missed: Tensor, estimate: Tensor) -> list[Row]:
    """One row for each class of the estimate: how many sets, the means of estimate and truth, its standard error."""
    rows, low = [], -1.0
    for high in CLASSES:
        inside = (estimate > low) & (estimate <= high)
        count, low = int(inside.sum()), high
        if count == 0:
            continue
        truth = missed[inside]
        rows.append(
            {
                "estimate up to": high,
                "sets": count,
                "estimate": float(estimate[inside].mean()),
                "truly unseen": float(truth.mean()),
                "standard error": float(truth.std(correction=1)) / count**0.5 if count > 1 else None,
                "complete": float((truth == 0).float().mean()),
            }
        )
    return rows


def figure_of(rows: Sequence[Row], curve: Sequence[Row]) -> Any:
    """The true share against the estimate, on average for each plan, and against classes of the cautious one."""
    figure = new_figure(4.4, 3.9)
    axis = figure.add_subplot()
    most = 1.05 * max(row[name] for row in (*rows, *curve) for name in ("unseen", "estimate") if name in row)
    axis.plot([0, most], [0, most], color="0.6", linestyle="--", linewidth=1, label="estimate = truth")
    for table, name, style in ((rows, "unseen", (BLUE, "o")), (curve, "estimate", (ORANGE, "s"))):
        label = "unseen, mean of each plan" if table is rows else "unseen_at_most, classes, 2 standard errors"
        error = None if table is rows else [2 * (row["standard error"] or 0.0) for row in table]
        truth = [row["truly unseen"] for row in table]
        axis.errorbar([row[name] for row in table], truth, error, color=style[0], marker=style[1], label=label)
    axis.set(title="Share of solutions not found", xlabel="estimated from the candidates", ylabel="true")
    axis.legend(fontsize=8, loc="upper left")
    return figure


@hydra.main(version_base="1.3", config_path="../../conf", config_name="completeness")
def main(cfg: DictConfig) -> None:
    """Run with the settings of ``conf/completeness.yaml``."""
    with command_line():
        call(completeness, plain(cfg))


if __name__ == "__main__":
    main()
