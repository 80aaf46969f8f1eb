"""Search for hyperparameters: ``cvae tune search=default "overrides=['data=product']"``."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cvae.errors import UserError, clear_errors


def run(cfg: DictConfig) -> None:
    """Work on a study until it has its trials, then report."""
    with clear_errors():
        try:
            from cvae.runs.tune import tune
        except ModuleNotFoundError as error:
            if error.name not in ("optuna", "sqlalchemy", "pandas"):
                raise
            raise UserError(f"the search needs {error.name}: pip install -e '.[search]'") from error
        tune(cfg, str(HydraConfig.get().runtime.choices["search"]))
