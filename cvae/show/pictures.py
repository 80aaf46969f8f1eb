"""Pictures into the run's folder and TensorBoard every few epochs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

from cvae.data import Batch
from cvae.errors import UserError
from cvae.models import CVAE, Generative
from cvae.networks import CategoricalCVAE
from cvae.show.figures import write_figure
from cvae.tasks import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

LATENT_SAMPLES = 1_000
#: folder of the pictures in the run's own folder
FOLDER = "figures"
#: number of the first group of pictures in TensorBoard, behind those of the charts (:class:`cvae.runs.board.Board`)
FIRST = 4


def publish(trainer: Trainer, figures: Mapping[str, Figure], ordered: bool = True) -> None:
    """Write figures as ``figures/NAME.png`` in the folder of ``trainer``, and to the loggers that take pictures.

    Args:
        trainer: gives the folder, the loggers and the step.
        figures: by name; those named ``NAME_0``, ``NAME_1``, ... are one group in TensorBoard.
        ordered: whether TensorBoard, which sorts by name, shows the groups in the order of ``figures``, in front of
            those that are not.
    """
    groups: list[str] = []
    for name, figure in figures.items():
        path = Path(trainer.default_root_dir, FOLDER, f"{name}.png")
        write_figure(path, {name: figure})
        group, _, number = name.rpartition("_") if name[-1].isdigit() else (name, "", "")
        groups += [group] * (group not in groups)
        tag = f"{groups.index(group) + FIRST} {group}" if ordered else group
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(f"{tag}/{number}".rstrip("/"), figure, trainer.global_step)
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_figure(logger.run_id, figure, f"{FOLDER}/{name}_{trainer.global_step}.png")
            elif isinstance(logger, WandbLogger):
                logger.log_image(name, [str(path)], trainer.global_step)


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
        self._drawn_at, self._took = -1, math.inf

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write those of the last epoch of a training that was stopped early."""
        if trainer.should_stop and trainer.global_step != self._drawn_at:
            # whose number is that of the epochs that are done by now
            self._publish(trainer, pl_module, trainer.current_epoch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the pictures when they are due."""
        epoch = trainer.current_epoch + 1
        if trainer.state.fn == "fit" and (epoch % self.every_epochs == 0 or epoch == trainer.max_epochs):
            self._publish(trainer, pl_module, epoch)

    @torch.no_grad()
    def _publish(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        self._drawn_at, started = trainer.global_step, time.monotonic()
        if self._took > 1:
            # the first time it is not known
            log.info("drawing pictures of epoch %d.", epoch)
        publish(trainer, self.figures(cast(Generative, pl_module), trainer.datamodule))  # type: ignore[attr-defined]
        self._took = time.monotonic() - started

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
