"""Pictures into the run's folder and TensorBoard every few epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from cvae.data import Batch
from cvae.errors import UserError
from cvae.models import CVAE, Generative
from cvae.networks import CategoricalCVAE
from cvae.show.figures import write_figure
from cvae.tasks import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATENT_SAMPLES = 1_000
#: folder of the pictures in the run's own folder
FOLDER = "figures"


def publish(trainer: Trainer, figures: Mapping[str, Figure]) -> None:
    """Write figures as ``figures/NAME.png`` in the folder of ``trainer``, and to TensorBoard if it logs there."""
    for name, figure in figures.items():
        write_figure(Path(trainer.default_root_dir, FOLDER, f"{name}.png"), {name: figure})
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(name, figure, trainer.global_step)


class SolutionFigures(Callback):
    """Draws solutions for a few validation conditions, and the latent space.

    Args:
        every_epochs: epochs between pictures; the last epoch always has one.
        conditions: number of validation conditions to show.
    """

    def __init__(self, every_epochs: int = 5, conditions: int = 4) -> None:
        if every_epochs < 1 or conditions < 1:
            raise UserError(
                f"callbacks.figures has every_epochs={every_epochs} and conditions={conditions}; "
                "both must be at least 1 (remove the callback with ~callbacks.figures)."
            )
        self.every_epochs = every_epochs
        self.conditions = conditions

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the pictures when they are due."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.state.fn != "fit":
            return
        due = (trainer.current_epoch + 1) % self.every_epochs == 0 or last
        if not due or trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        publish(trainer, self.figures(cast(Generative, pl_module), trainer.datamodule))  # type: ignore[attr-defined]

    def figures(self, model: Generative, data: Any) -> dict[str, Figure]:
        """The pictures of a model on the validation data, by name."""
        y = data.conditions("validation").y[: self.conditions]
        x = model.draw(y, model.evaluation.draws, torch.Generator().manual_seed(0))
        drawn = model.task.drawn(torch.arange(len(y), device=y.device), x, y)
        references = []
        if isinstance(model.task, Problem):
            references = [one.theta for one in data.references("validation")[: self.conditions]]
        figures = model.task.figures(drawn, references)
        if isinstance(model, CVAE) and isinstance(model.task, Problem):
            figures["latent"] = self._latent(model, model.task, data.splits.validation)
        return figures

    def _latent(self, model: CVAE, problem: Problem, pairs: Batch) -> Figure:
        # here, so that a run without pictures never pays for the import of matplotlib
        from cvae.show.latent import categories_figure, latent_figure

        shown = Batch(*(part[:LATENT_SAMPLES] for part in pairs))
        # samples of the latent are drawn on the way; training must not notice
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            code = model.network.reconstruct(shown.x, shown.y).code
        draw = categories_figure if isinstance(model.network, CategoricalCVAE) else latent_figure
        return draw(code, problem.space.encode(shown.x), problem.space.names)
