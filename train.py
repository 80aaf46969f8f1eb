"""Train a CVAE: ``python train.py model=deep loss=huber``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

import cvae.runs.names  # noqa: F401 - registers the resolvers that the configs use


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """Run one job; Hydra hands the return value to a sweeper."""
    from cvae.errors import user_message
    from cvae.runs.launch import run
    from cvae.runs.sweeps import attempt

    hydra_cfg = HydraConfig.get()
    run_dir, overrides = Path(hydra_cfg.runtime.output_dir), list(hydra_cfg.overrides.task)
    job = partial(run, cfg, run_dir, overrides)
    if hydra_cfg.mode == RunMode.MULTIRUN:
        return attempt(job, run_dir, overrides)
    try:
        return job()
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        # Hydra prints the message alone, and the whole stack with HYDRA_FULL_ERROR=1
        raise CompactHydraException(message) from error


if __name__ == "__main__":
    main()
