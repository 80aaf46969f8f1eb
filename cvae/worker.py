"""One of several training processes: ``torchrun -m cvae.worker RUN_DIR`` (see :mod:`cvae.launch`)."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from cvae import runs
from cvae.checkpoint_files import resumable
from cvae.launch import CONFIG, OVERRIDES, record_failure
from cvae.ranks import rank
from cvae.training import train

LOG = "train.log"


def main() -> None:
    """Train with the config that lies in the run's folder, from the checkpoint in it if there is one."""
    run_dir = Path(sys.argv[1])
    set_up_logging(run_dir)
    cfg = cast(DictConfig, OmegaConf.load(run_dir / CONFIG))
    record = runs.read(run_dir) or {}
    start = runs.Start(record["config_hash"], resumable(run_dir / runs.LAST))
    try:
        train(cfg, run_dir, json.loads((run_dir / OVERRIDES).read_text()), start=start)
    except Exception as error:
        if rank() == 0:
            record_failure(run_dir, error)
        raise


def set_up_logging(run_dir: Path) -> None:
    """Log as Hydra does in a run of one process; the other processes would only repeat the first one."""
    first = rank() == 0
    logging.basicConfig(
        level=logging.INFO if first else logging.WARNING,
        format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s",
        handlers=[logging.StreamHandler(), *([logging.FileHandler(run_dir / LOG)] if first else [])],
    )
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
