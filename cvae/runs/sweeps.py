"""What a sweep needs beside its jobs: failures that do not end the others, and a table at the end."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

import cvae.config
import cvae.runs.names  # noqa: F401 - a launcher may start jobs in processes that import this alone
from cvae.command_lines import command, word
from cvae.errors import DiskError, check_writable, user_message
from cvae.runs.folder import FAILED, mark_failed, read
from cvae.runs.ranks import rank

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
        found = read(run_dir)
        # the record of a run that goes on or has finished is not this job's
        if found is not None and found.get("status") != FAILED:
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
        _check(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a sweep, and tell the jobs which overrides they share."""
        _check(config.hydra.sweep.dir)
        shared = _shared(config.hydra.overrides.task)
        with read_write(config):
            # the config of a job is composed anew, with these in front of its own overrides
            config.hydra.overrides.hydra.append(f"{EXCLUDED}={json.dumps(shared)}")

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say what the first seconds are spent with."""
        if "lightning" not in sys.modules and rank() == 0:
            log.info("importing PyTorch and Lightning, which takes a few seconds.")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show all runs in the sweep's folder, and end with status 1 if one has failed."""
        from cvae.runs.compare import print_tables, read_runs, summarize

        folder = Path(config.hydra.sweep.dir)
        runs = read_runs(folder)
        print_tables(runs, summarize(runs), str(folder))
        print(f"again, as a file and a picture: {command('compare', [word('dir', folder)])}")
        statuses = list(runs.about["status"])
        if FAILED in statuses:
            # Hydra turns exceptions of callbacks into warnings, but lets this one through
            failed = f"{statuses.count(FAILED)} of {len(statuses)} jobs failed"
            raise SystemExit(f"{failed}; re-run the same command to repeat them.")


def _shared(overrides: Sequence[str]) -> list[str]:
    """Keys of the overrides that have one value in all jobs of a sweep."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [one.key_or_group for one in parsed if not one.is_sweep_override()]


def _check(folder: str) -> None:
    try:
        check_writable(Path(folder))
    except DiskError as error:
        raise SystemExit(str(error)) from None
