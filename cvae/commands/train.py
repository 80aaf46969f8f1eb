"""Train: ``cvae train model=deep loss=huber``, a single run or the job of a sweep."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from cvae.errors import user_message
from cvae.runs import launch
from cvae.runs.sweeps import attempt


def run(cfg: DictConfig) -> float:
    """Run one job; Hydra hands the return value to a sweeper."""
    if "run_dir" in cfg:  # not while it is ???
        raise CompactHydraException(
            f"run_dir is {cfg.run_dir}, but it is set when the run starts; choose its folder with hydra.run.dir=..., "
            "or hydra.sweep.dir=... for a sweep."
        )
    hydra_cfg = HydraConfig.get()
    run_dir, overrides = Path(hydra_cfg.runtime.output_dir), list(hydra_cfg.overrides.task)
    job = partial(launch.run, cfg, run_dir, overrides)
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
