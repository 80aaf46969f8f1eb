"""Search for hyperparameters: ``python scripts/tune.py search=default "overrides=['data=product']"``."""

from __future__ import annotations

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import cvae.config  # noqa: F401 - registers the resolvers that the configs use


@hydra.main(version_base="1.3", config_path="../conf", config_name="tune")
def main(cfg: DictConfig) -> None:
    """Work on a study until it has its trials, then report."""
    from cvae.challenge.cli import clear_errors

    with clear_errors():
        try:
            from cvae.search.run import run_search
        except ModuleNotFoundError as error:
            if error.name != "optuna":
                raise
            raise ValueError("the search needs Optuna: pip install -e '.[search]'.") from error
        run_search(cfg, str(HydraConfig.get().runtime.choices["search"]))


if __name__ == "__main__":
    main()
