"""What torchrun and SLURM's srun tell each of the processes that they start together."""

from __future__ import annotations

import os


def rank() -> int:
    """Number of this process among those started together; 0 for the first one, and for one that is alone."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    return int(os.environ["SLURM_PROCID"]) if tasks_of_srun() > 1 else 0


def started() -> int:
    """How many processes torchrun or srun started together, on all machines; 1 for one that is alone."""
    return int(os.environ["WORLD_SIZE"]) if "WORLD_SIZE" in os.environ else tasks_of_srun()


def started_together() -> bool:
    """Whether torchrun, srun or Lightning started this process as one of several that train one model."""
    return "TORCHELASTIC_RUN_ID" in os.environ or "LOCAL_RANK" in os.environ or tasks_of_srun() > 1


def tasks_of_srun() -> int:
    """Tasks of srun's step; 1 outside of srun, also in a batch script that has not called it."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
