"""One process or several: where a run's processes are started.

Lightning's own subprocess launcher starts the script again with the words of the command line. Under a Hydra multirun
that starts the whole sweep again in every process, and under a single run it makes further output folders. Here the
processes get the one config that is already composed, from the run's folder, and Hydra is not involved again.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning import Callback
from omegaconf import DictConfig, OmegaConf

from cvae.ranks import rank, started_together
from cvae.training import RESULT, build, train

CONFIG = "config.yaml"
OVERRIDES = "overrides.json"


def run(
    cfg: DictConfig, run_dir: Path, overrides: list[str] | None = None, callbacks: Sequence[Callback] = ()
) -> float:
    """Train in this process, or in as many as the trainer's config names.

    Args and return value: see :func:`cvae.training.train`.

    Raises:
        ChildProcessError: if one of several processes fails.
        ValueError: for ``callbacks`` with several processes, which get plain data only.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    processes = wanted_processes(cfg)
    if processes <= 1:
        if rank() > 0:
            # the other processes would only repeat the first one
            logging.getLogger().setLevel(logging.WARNING)
        return train(cfg, run_dir, overrides, callbacks)
    if callbacks:
        raise ValueError(f"callbacks beside the config's need one process, but the trainer asks for {processes}.")
    # here first, so that a mistake in the config is reported once and in full before any process starts
    build(cfg)
    (run_dir / CONFIG).write_text(OmegaConf.to_yaml(cfg))
    (run_dir / OVERRIDES).write_text(json.dumps(overrides or []))
    (run_dir / RESULT).unlink(missing_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    done = subprocess.run([*command, "-m", "cvae.worker", str(run_dir)], env=environment, check=False)
    if done.returncode != 0 or not (run_dir / RESULT).is_file():
        raise ChildProcessError(f"{run_dir}: one of {processes} processes failed; its error is printed above.")
    value: float = json.loads((run_dir / RESULT).read_text())["value"]
    return value


def wanted_processes(cfg: DictConfig) -> int:
    """Processes to start here; 1 if someone (torchrun, SLURM) has started them already."""
    trainer = cfg.trainer
    if started_together() or not str(trainer.get("strategy", "auto")).startswith("ddp"):
        return 1
    devices = trainer.devices
    if isinstance(devices, int) and devices > 0:
        return devices
    if isinstance(devices, int) or devices == "auto":
        return torch.cuda.device_count() if trainer.accelerator in ("gpu", "cuda") else 1
    return len(str(devices).split(",")) if isinstance(devices, str) else len(devices)
