"""Pictures into TensorBoard every few epochs."""

from __future__ import annotations

from typing import cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from cvae.data.batches import Batch
from cvae.module import CVAE

LATENT_SAMPLES = 1_000


class SolutionFigures(Callback):
    """Draws solutions for a few validation conditions, and the latent space.

    Args:
        every_epochs: epochs between pictures; the last epoch always has one.
        conditions: number of validation conditions to show.
    """

    def __init__(self, every_epochs: int = 5, conditions: int = 4) -> None:
        if every_epochs < 1 or conditions < 1:
            raise ValueError(
                f"callbacks.figures has every_epochs={every_epochs} and conditions={conditions}; "
                "both must be at least 1 (remove the callback with ~callbacks.figures)."
            )
        self.every_epochs = every_epochs
        self.conditions = conditions

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.state.fn != "fit":
            return
        due = (trainer.current_epoch + 1) % self.every_epochs == 0 or last
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not due or not boards or not trainer.is_global_zero:
            return
        # here, so that a run without pictures never pays for the import of matplotlib
        from cvae.plots import categories_figure, latent_figure, solutions_figure

        model = cast(CVAE, pl_module)
        data = trainer.datamodule  # type: ignore[attr-defined]
        chosen: Batch = data.conditions("validation")
        y = chosen.y[: self.conditions]
        x = model.draw(y, model.draws, torch.Generator().manual_seed(0))
        figures = {"solutions": solutions_figure(model.problem, x, y, model.problem.check(x, y))}
        shown = Batch(*(part[:LATENT_SAMPLES] for part in data.splits.validation))
        # samples of the latent are drawn on the way; training must not notice
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            reconstruction = model.network.reconstruct(shown.x, shown.y)
        # without a KL of its own the latent is categorical, and its code a one-hot vector
        draw = latent_figure if reconstruction.kl is not None else categories_figure
        figures["latent"] = draw(reconstruction.code, model.problem.geometry.to_endpoints(shown.x))
        for board in boards:
            for name, figure in figures.items():
                board.experiment.add_figure(name, figure, trainer.global_step)
