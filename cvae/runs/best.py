"""Which epoch's weights are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch.callbacks import ModelCheckpoint

if TYPE_CHECKING:
    from lightning import Trainer
    from torch import Tensor


class BestCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint of the best epoch; of epochs that are equally good the latest, which has trained longest.

    Lightning keeps the first: for a measure that stays at 0 for long, or reaches 1 early, that is hardly trained.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether the epoch with the value ``current`` is to be kept."""
        if super().check_monitor_top_k(trainer, current):
            return True
        worst = self.best_k_models.get(self.kth_best_model_path)
        equal = current is not None and worst is not None and bool(current == worst)
        return bool(trainer.strategy.reduce_boolean_decision(equal))
