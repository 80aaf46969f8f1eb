"""What a sweep needs beside its jobs: failures that do not end the others, and a table at the end."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import filter_overrides
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from cvae.command_lines import command, word
from cvae.errors import DiskError, UserError, check_writable, user_message
from cvae.runs.folder import DIVERGED, FAILED, LAST, check_kind, check_own, mark_failed, read

# also for its resolvers: a launcher may start jobs in processes that import this alone
from cvae.runs.names import begun, identity
from cvae.runs.ranks import rank
from cvae.runs.stops import advise

log = logging.getLogger(__name__)

#: Hydra's entry for what is left out of the names of jobs
EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"


def attempt(job: Callable[[], float], run_dir: Path, overrides: list[str]) -> float:
    """Do one job of a sweep; a failure is logged and noted in its folder, so that the others go on.

    Returns:
        What the job returns; nan if it fails.

    Raises:
        CompactHydraException: for a failure that cannot be noted in the folder, since that holds something else or the
            disk is full. Hydra raises it after the last job.
    """
    try:
        # the folder of the sweep may be another person's: a link in it would lead out of it
        check_kind(run_dir, folder=True)
        return job()
    except Exception as error:
        message = user_message(error)
        name = " ".join(overrides)
        if message is None:
            log.exception("the job %s has failed:", name)
        else:
            log.error("the job %s has failed: %s", name, message)
        if not _note(run_dir, error, message, overrides):
            raise CompactHydraException(message or f"{type(error).__name__}: {error}") from error
        return math.nan


def _note(run_dir: Path, error: Exception, message: str | None, overrides: list[str]) -> bool:
    try:
        check_kind(run_dir, folder=True)
        found = read(run_dir)
        # the record of a run that goes on or has finished is not this job's
        if found is not None and found.get("status") not in (FAILED, DIVERGED):
            return False
        mark_failed(run_dir, "", error, message, overrides)
    except (OSError, ValueError) as second:
        log.warning("%s: the failure could not be noted there (%s).", run_dir, second)
        return False
    return True


class SweepReport(Callback):
    """Hydra's callback: checks the folder before anything is written, tells what is about to happen, and shows a table
    after a sweep."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a single run."""
        _check("hydra.run.dir", config.hydra.run.dir)
        advise(partial(_after_a_stop_of_one, Path(config.hydra.run.dir)))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a sweep, and tell the jobs which overrides they share."""
        _check("hydra.sweep.dir", config.hydra.sweep.dir)
        advise(partial(_after_a_stop, config))
        shared = _shared(config.hydra.overrides.task)
        with read_write(config):
            # the config of a job is composed anew, with these in front of its own overrides
            config.hydra.overrides.hydra.append(f"{EXCLUDED}={json.dumps(shared)}")

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say what the first seconds are spent with."""
        if "lightning" not in sys.modules and rank() == 0:
            log.info("importing PyTorch and Lightning: seconds, or a minute on a busy machine.")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show all runs in the sweep's folder, and end with status 1 if one has failed."""
        statuses = _report(Path(config.hydra.sweep.dir))
        failed = statuses.count(FAILED) + statuses.count(DIVERGED)
        if failed:
            # Hydra turns exceptions of callbacks into warnings, but lets this one through
            what = f"{failed} of {len(statuses)} jobs failed" + (" or diverged" if DIVERGED in statuses else "")
            raise SystemExit(f"{what}; re-run the same command to repeat them.")


def _report(folder: Path) -> list[str]:
    """Show all runs in a sweep's folder; their statuses."""
    from cvae.runs.compare import print_tables, read_runs, summarize

    runs = read_runs(folder)
    print_tables(runs, summarize(runs), str(folder))
    print(f"again, as a file and a picture: {command('compare', [word('dir', folder)])}")
    return list(runs.about["status"])


def _after_a_stop_of_one(folder: Path) -> str:
    """How a training goes on, if one of its epochs was kept."""
    on = "goes on from its last whole epoch" if (folder / LAST).exists() else "begins anew"
    return f"the training {on} with {_again('hydra.run.dir', folder)}"


def _after_a_stop(config: DictConfig) -> str:
    """Show what there is of a sweep that was stopped; the jobs that did not run, and how it goes on."""
    folder = Path(config.hydra.sweep.dir)
    _report(folder)
    done = set(begun(folder).values())
    left = [" ".join(job) for job in _jobs(config) if identity(job) not in done]
    missing = f"{len(left)} jobs did not run ({'; '.join(left)}); " if left else ""
    return f"{missing}the sweep goes on with {_again('hydra.sweep.dir', folder)}"


def _again(entry: str, folder: str | Path) -> str:
    """This command, in the same folder."""
    return command("train", [*(each for each in sys.argv[1:] if not each.startswith(f"{entry}=")), word(entry, folder)])


def _jobs(config: DictConfig) -> list[list[str]]:
    """The overrides of each job of a sweep; none where another sweeper than Hydra's own proposes them."""
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(".BasicSweeper"):
        return []
    words = [*(f"{name}={value}" for name, value in (sweeper.params or {}).items()), *config.hydra.overrides.task]
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    return [list(filter_overrides(job)) for job in jobs]


def _shared(overrides: Sequence[str]) -> list[str]:
    """Keys of the overrides that have one value in all jobs of a sweep."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [one.key_or_group for one in parsed if not one.is_sweep_override()]


def _check(entry: str, folder: str | None) -> None:
    if not folder:
        # an empty name would be the folder in which the user stands
        raise SystemExit(f"{entry} is {folder!r}; it must name a folder, such as {entry}=outputs/train/first.")
    try:
        check_writable(Path(folder))
        check_own(Path(folder))
    except (DiskError, UserError) as error:
        raise SystemExit(str(error)) from None
