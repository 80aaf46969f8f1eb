"""What starts the processes of one training and ends them together: ``python -m cvae.runs.agent COUNT WORD ...``.

Each is ``python -m cvae.runs.worker WORD ...``. This is torchrun, without the stack that it shows where a signal
ends it.
"""

from __future__ import annotations

import logging
import sys

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.run import main as torchrun


def main() -> None:
    """Start processes, and wait until all have ended."""
    count, *words = sys.argv[1:]
    # not that a process was ended because this one was asked to end
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    try:
        torchrun(["--standalone", f"--nproc-per-node={count}", "-m", "cvae.runs.worker", *words])
    except SignalException as stop:
        raise SystemExit(128 + stop.sigval) from None


if __name__ == "__main__":
    main()
