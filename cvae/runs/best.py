"""Which epoch's weights are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import ModelCheckpoint

from cvae.runs.board import Board

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer
    from torch import Tensor


class BestCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint of the best epoch; of epochs that are equally good the latest, which has trained longest.

    Lightning keeps the first: for a measure that stays at 0 for long, or reaches 1 early, that is hardly trained.

    Attributes:
        measures: those of the epoch that is kept up to now; TensorBoard shows them (:class:`cvae.runs.board.Board`).
    """

    measures: Mapping[str, float] = {}

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether the epoch with the value ``current`` is to be kept; its measures are noted then."""
        keeps = self._keeps(trainer, current)
        if keeps:
            self.measures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return keeps

    def _keeps(self, trainer: Trainer, current: Tensor | None) -> bool:
        if super().check_monitor_top_k(trainer, current):
            return True
        worst = self.best_k_models.get(self.kth_best_model_path)
        equal = current is not None and worst is not None and bool(current == worst)
        return bool(trainer.strategy.reduce_boolean_decision(equal))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epoch if it is the best, and show in TensorBoard what is kept."""
        super().on_train_epoch_end(trainer, pl_module)
        for logger in trainer.loggers:
            if isinstance(logger, Board):
                logger.log_kept(self.measures, trainer.global_step - 1)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return super().state_dict() | {"measures": dict(self.measures)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a resumed run must know."""
        super().load_state_dict(state_dict)
        self.measures = state_dict.get("measures", {})
