"""One of several training processes: ``-m cvae.runs.worker RUN_DIR [CHECKPOINT]`` (see :mod:`cvae.runs.launch`)."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from cvae.errors import printable, user_message
from cvae.runs import folder
from cvae.runs.checkpoint_files import start_from
from cvae.runs.launch import LEVEL, STARTER, record_failure
from cvae.runs.ranks import rank
from cvae.runs.train import train

LOG = "train.log"


def main() -> None:
    """Train with the config that lies in the run's folder, from the checkpoint that was found whole if there is one."""
    run_dir = Path(sys.argv[1])
    threading.Thread(target=end_with_starter, args=(os.getppid(), signals()), daemon=True).start()
    set_up_logging(run_dir)
    cfg = cast(DictConfig, OmegaConf.load(run_dir / folder.CONFIG))
    record = folder.read(run_dir) or {}
    start = folder.Start(record["config_hash"])
    if len(sys.argv) > 2:
        start = start_from(start.config_hash, Path(sys.argv[2]))
    try:
        train(cfg, run_dir, start, record["overrides"])
    except Exception as error:
        if rank() == 0:
            record_failure(run_dir, error)
        message = user_message(error)
        if message is None:
            raise
        print(f"error: {printable(message)}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def signals() -> int:
    """A descriptor from which the numbers of signals can be read, whatever is done about them and wherever this process
    waits."""
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    return told


def end_with_starter(parent: int, told: int, every_s: float = 0.5) -> None:
    """End this process when it is asked to end, and when the one that asked for the training, or the agent in between,
    is gone.

    Otherwise a training whose command was killed would go on unseen, and write beside the next one in its folder.
    Lightning ends at the next step, if it can tell the other processes; one of them may be gone.

    Args:
        parent: number of the agent's process.
        told: from :func:`signals`.
        every_s: seconds between looks.
    """
    starter, asked = os.environ.get(STARTER), False
    while not asked and os.getppid() == parent and (starter is None or _is_alive(int(starter))):
        if select.select([told], [], [], every_s)[0]:
            asked = signal.SIGTERM in os.read(told, 1)
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
        handlers=[logging.StreamHandler(), *([folder.OwnLog(run_dir / LOG)] if first else [])],
    )
    logging.getLogger("cvae").setLevel(int(os.environ.get(LEVEL, logging.NOTSET)))
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
