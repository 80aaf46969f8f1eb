"""Names of folders of runs and sweeps, and of chosen members of groups, as resolvers for the configs."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from cvae.config import config_folder
from cvae.errors import UserError
from cvae.runs.folder import RESULT, read
from cvae.runs.ranks import tasks_of_srun

#: names of groups of configs
GROUP = re.compile(r"[a-z_]+(/[a-z_]+)*")
#: runs of what the name of a folder should not hold
UNSAFE = re.compile(r"[^A-Za-z0-9=,.+-]+")
#: characters of a folder's name before its hash
LONGEST = 100
#: seconds to wait for torchrun's store
TIMEOUT_S = 300


def run_name(overrides: Sequence[str], shared: Sequence[str] = (), sweep_dir: str | None = None) -> str:
    """A short folder name for a job of a sweep, made of the overrides in which the jobs differ.

    A job that has begun keeps its folder, so that a sweep that is started again, or has grown, finds its jobs: the one
    whose record has the same overrides, in any order. Otherwise keys are cut to what stands behind their last dot or
    slash, where that tells them apart; what a file name should not hold is replaced, and a long name is cut. Such a
    name ends with a hash of all overrides, and so does one whose folder is taken by a run with others.

    Args:
        overrides: those of the job.
        shared: keys whose values are the same in all jobs; they are left out of the name.
        sweep_dir: the sweep's folder; None looks for no jobs that have begun.
    """
    words = {_key(word): word.lstrip("+~").partition("=") for word in sorted(overrides)}
    whole = identity(overrides)
    known = begun(Path(sweep_dir)) if sweep_dir is not None else {}
    if whole in known.values():
        return next(name for name, job in known.items() if job == whole)
    differ = [key for key in words if key not in shared] or list(words)
    # from the keys alone, which all jobs of a sweep have in common
    ends = [re.split("[./]", key)[-1] for key in differ]
    short = [end if ends.count(end) == 1 else key for key, end in zip(differ, ends, strict=True)]
    plain = ",".join(name + "".join(words[key][1:]) for key, name in zip(differ, short, strict=True)) or "default"
    name = UNSAFE.sub("_", plain)[:LONGEST]
    return name if name == plain and name not in known else f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def _key(word: str) -> str:
    """The key of an override; ``+`` adds an entry, ``~`` deletes one."""
    return word.partition("=")[0].lstrip("+~")


def identity(overrides: Sequence[str]) -> str:
    """The overrides of a job in one text, whatever their order."""
    return ",".join(sorted(overrides)) or "default"


def begun(sweep_dir: Path) -> dict[str, str]:
    """The :func:`identity` of each job that has begun, by the name of its folder."""
    found = {}
    for path in sorted(sweep_dir.glob(f"*/{RESULT}")):
        # what is damaged is told by the job that has its folder
        with suppress(UserError, KeyError, TypeError):
            found[path.parent.name] = identity((read(path.parent) or {})["overrides"])
    return found


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


def check_choices(words: Sequence[str]) -> None:
    """Check the overrides that choose members of groups, before Hydra, which has a traceback for other values.

    Raises:
        UserError: for a value that is no name.
    """
    for word in words:
        group, given, _ = word.lstrip("+").partition("=")
        if not given or not GROUP.fullmatch(group) or not (config_folder() / group).is_dir():
            continue
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException:
            continue  # Hydra tells it
        if not override.is_sweep_override() and not isinstance(override.value(), str | list | dict):
            members = ", ".join(sorted(path.stem for path in (config_folder() / group).glob("*.yaml")))
            raise UserError(f"{word}: {group} must name a member of conf/{group}: {members}.")


def choice(group: str) -> str | None:
    """The member of a group that the command line has chosen; None for a config that no training's command composed."""
    if not HydraConfig.initialized() or HydraConfig.get().job.config_name != "train":
        return None
    return HydraConfig.get().runtime.choices.get(group)


OmegaConf.register_new_resolver("choice", choice, replace=True)
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("shared_name", shared_name, replace=True, use_cache=True)
