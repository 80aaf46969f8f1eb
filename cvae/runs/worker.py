"""One of several training processes: ``torchrun -m cvae.runs.worker RUN_DIR`` (see :mod:`cvae.runs.launch`)."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from cvae.runs import folder
from cvae.runs.checkpoint_files import resumable
from cvae.runs.launch import CONFIG, LEVEL, STARTER, record_failure
from cvae.runs.ranks import rank
from cvae.runs.train import train

LOG = "train.log"


def main() -> None:
    """Train with the config that lies in the run's folder, from the checkpoint in it if there is one."""
    run_dir = Path(sys.argv[1])
    threading.Thread(target=end_with_starter, args=(os.getppid(),), daemon=True).start()
    set_up_logging(run_dir)
    cfg = cast(DictConfig, OmegaConf.load(run_dir / CONFIG))
    record = folder.read(run_dir) or {}
    start = folder.Start(record["config_hash"], resumable(run_dir / folder.LAST))
    try:
        train(cfg, run_dir, start, record["overrides"])
    except Exception as error:
        if rank() == 0:
            record_failure(run_dir, error)
        raise


def end_with_starter(parent: int, every_s: float = 0.5) -> None:
    """End this process when the one that asked for the training, or torchrun in between, is gone.

    Otherwise a training whose command was killed would go on unseen, and write beside the next one in its folder.
    """
    starter = os.environ.get(STARTER)
    while os.getppid() == parent and (starter is None or _is_alive(int(starter))):
        time.sleep(every_s)
    os._exit(1)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def set_up_logging(run_dir: Path) -> None:
    """Log as Hydra does in a run of one process; the other processes would only repeat the first one."""
    first = rank() == 0
    logging.basicConfig(
        level=logging.INFO if first else logging.WARNING,
        format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s",
        handlers=[logging.StreamHandler(), *([logging.FileHandler(run_dir / LOG)] if first else [])],
    )
    logging.getLogger("cvae").setLevel(int(os.environ.get(LEVEL, logging.NOTSET)))
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
