"""Names of the folders of runs and sweeps, as resolvers for the configs."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence

from omegaconf import OmegaConf

from cvae.runs.ranks import tasks_of_srun

#: runs of what the name of a folder should not hold
UNSAFE = re.compile(r"[^A-Za-z0-9=,.+-]+")
#: characters of a folder's name before its hash
LONGEST = 100
#: seconds to wait for torchrun's store
TIMEOUT_S = 300


def run_name(overrides: Sequence[str]) -> str:
    """A short folder name for a job of a sweep, made of its overrides.

    It depends on them alone, not on their order or on the job's place in the sweep, so that a sweep that is started
    again, or with further values, finds its jobs. What a file name should not hold is replaced; a long name starts with
    the groups that are chosen, drops what stands in front of the last dot of each key, and is cut. Such a name ends
    with a hash of the whole, so that no two jobs share one.
    """
    words = sorted(overrides)
    whole = ",".join(words) or "default"
    name = UNSAFE.sub("_", whole)
    if name == whole and len(name) <= LONGEST:
        return name
    if len(name) > LONGEST:
        words.sort(key=lambda word: "." in word.partition("=")[0])
        short = ",".join(re.sub(r"^[+~]*[^=]*[./]([^=]*=)", r"\1", word) for word in words)
        name = UNSAFE.sub("_", short)[: LONGEST + 1].rpartition(",")[0] or UNSAFE.sub("_", short)[:LONGEST]
    return f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def shared_name(name: str) -> str:
    """One name for all processes that are started together, whose clocks and moments of asking differ.

    Under torchrun it is the ``name`` of whichever process asks first, kept in the store that torchrun holds for them
    on all machines. Under srun it is made of the numbers of job and step, which a job that SLURM queues again keeps. A
    process that is alone keeps its own ``name``.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return _first_of_torchrun(name)
    if tasks_of_srun() > 1:
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


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("shared_name", shared_name, replace=True, use_cache=True)
