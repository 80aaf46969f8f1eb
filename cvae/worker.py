"""One of several training processes: ``torchrun -m cvae.worker RUN_DIR`` (see :mod:`cvae.launch`)."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from cvae.launch import CONFIG, OVERRIDES
from cvae.training import train


def main() -> None:
    """Train with the config that lies in the run's folder."""
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s")
    run_dir = Path(sys.argv[1])
    cfg = cast(DictConfig, OmegaConf.load(run_dir / CONFIG))
    train(cfg, run_dir, json.loads((run_dir / OVERRIDES).read_text()))


if __name__ == "__main__":
    main()
