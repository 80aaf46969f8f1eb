"""What torchrun and SLURM's srun tell each of the processes that they start together."""

from __future__ import annotations

import os

TIMEOUT_S = 300


def rank() -> int:
    """Number of this process among those started together; 0 for the first one, and for one that is alone."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    return int(os.environ["SLURM_PROCID"]) if _tasks_of_srun() > 1 else 0


def started() -> int:
    """How many processes torchrun or srun started together, on all machines; 1 for one that is alone."""
    return int(os.environ["WORLD_SIZE"]) if "WORLD_SIZE" in os.environ else _tasks_of_srun()


def started_together() -> bool:
    """Whether torchrun, srun or Lightning started this process as one of several that train one model."""
    return "TORCHELASTIC_RUN_ID" in os.environ or "LOCAL_RANK" in os.environ or _tasks_of_srun() > 1


def shared_name(name: str) -> str:
    """One name for all processes that are started together, whose clocks and moments of asking differ.

    Under torchrun it is the ``name`` of whichever process asks first, kept in the store that torchrun holds for them
    on all machines. Under srun it is made of the numbers of job and step, which a job that SLURM queues again keeps. A
    process that is alone keeps its own ``name``.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return _first_of_torchrun(name)
    if _tasks_of_srun() > 1:
        return f"slurm-{os.environ['SLURM_JOB_ID']}.{os.environ.get('SLURM_STEP_ID', '0')}"
    return name


def _first_of_torchrun(name: str) -> str:
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # a name of C++, which stubs do not export

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=TIMEOUT_S))
    # sets the name only where there is none, and gives the one that is there then
    found: bytes = store.compare_set("cvae/shared_name", "", name)
    return found.decode()


def _tasks_of_srun() -> int:
    """Tasks of srun's step; 1 outside of srun, also in a batch script that has not called it."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
