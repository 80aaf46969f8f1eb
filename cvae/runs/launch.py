"""One process or several: where a run's processes are started.

Lightning's own subprocess launcher starts the script again with the words of the command line. Under a Hydra multirun
that starts the whole sweep again in every process, and under a single run it makes further output folders. Here the
processes read the settled config from the run's folder, and Hydra is not involved again.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning import Callback
from omegaconf import DictConfig, OmegaConf

from cvae.errors import UserError, clear_disk_errors, user_message
from cvae.files import replacing
from cvae.runs import folder
from cvae.runs.checkpoint_files import check_continuable, resumable
from cvae.runs.locks import locked
from cvae.runs.loggers import check_loggers
from cvae.runs.ranks import rank, started, started_together
from cvae.runs.settle import settle
from cvae.runs.train import build, build_callbacks, generation_plan, settings_of, train

log = logging.getLogger(__name__)

CONFIG = "config.yaml"
#: tells the processes that are started which one to end with
STARTER = "CVAE_STARTER"
#: tells them what the package logs
LEVEL = "CVAE_LOG_LEVEL"


def run(
    cfg: DictConfig,
    run_dir: Path,
    overrides: list[str] | None = None,
    callbacks: Sequence[Callback] = (),
    replace: bool = False,
) -> float:
    """Train in this process, or in as many as the trainer's config names.

    A run that has finished in ``run_dir`` with the same config is not repeated, and one that was interrupted goes on
    from its last epoch.

    Args:
        cfg: the composed config, which is settled first (:func:`cvae.runs.settle.settle`); it is not changed.
        run_dir: the run's own folder; this process holds it until the end.
        overrides: what the user changed, for the record.
        callbacks: further ones, beside those of the config; for one process only.
        replace: remove a run with another config from ``run_dir``, instead of refusing.

    Returns:
        The value of ``cfg.optimized_metric`` for the model that was kept.

    Raises:
        cvae.errors.DiskError: if the disk is full or cannot be written to.
        cvae.runs.locks.FolderInUseError: if another process works in ``run_dir``.
        cvae.runs.folder.FolderTakenError: if ``run_dir`` holds a run with another config.
        UserError: for a config that makes no sense, for ``callbacks`` with several processes, which get plain data
            only, and if one of several processes fails.
    """
    if rank() > 0:
        # the other processes would only repeat what the first one says
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger("cvae").setLevel(logging.ERROR)
    cfg = settle(cfg)
    with clear_disk_errors(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        if rank() > 0:
            # the first one holds the folder and writes to it
            return _continue(cfg, run_dir, overrides, callbacks)
        with locked(run_dir):
            if replace and not folder.is_free_for(run_dir, folder.identify(settings_of(cfg))):
                folder.clear(run_dir)
            return _continue(cfg, run_dir, overrides, callbacks)


def _continue(cfg: DictConfig, run_dir: Path, overrides: list[str] | None, callbacks: Sequence[Callback]) -> float:
    """Do what is left to do of a run with a settled config."""
    config_hash = folder.identify(settings_of(cfg))
    reached = folder.finished_value(run_dir, config_hash)
    if reached is not None:
        metric = (folder.read(run_dir) or {}).get("optimized_metric", cfg.optimized_metric)
        log.info("%s: finished already (%s %.4g), skipped.", run_dir, metric, reached)
        return reached
    if not folder.is_free_for(run_dir, config_hash):
        raise folder.taken(run_dir, settings_of(cfg))
    start = folder.Start(config_hash, resumable(run_dir / folder.LAST))
    if start.checkpoint is not None:
        log.info("%s: interrupted before; it goes on from %s.", run_dir, folder.LAST)
    elif rank() == 0 and folder.read(run_dir) is not None:
        # what is there is of this run or of one that failed before its first epoch ended
        folder.clear(run_dir)
    processes = wanted_processes(cfg)
    if processes > 1 and callbacks:
        raise UserError(f"callbacks beside the config's need one process, but the trainer asks for {processes}.")
    try:
        if rank() == 0:
            # here first, so that a mistake in the config is told before anything is written or another process starts
            generation_plan(cfg)
            _, model = build(cfg, resumed=start.checkpoint is not None)
            build_callbacks(cfg, run_dir)
            check_loggers(cfg.logger)
            if cfg.get("ckpt_path") is not None and start.checkpoint is None:
                check_continuable(cfg.ckpt_path, model, cfg.trainer)
            with replacing(run_dir / CONFIG) as temporary:
                temporary.write_text(OmegaConf.to_yaml(cfg))
        if processes > 1:
            return _train_in_processes(cfg, run_dir, overrides, start, processes)
        return train(cfg, run_dir, start, overrides, callbacks)
    except Exception as error:
        if rank() == 0:
            record_failure(run_dir, error)
        raise


def record_failure(run_dir: Path, error: Exception) -> None:
    """Note in the record of a run that has begun why it ended."""
    try:
        with clear_disk_errors(run_dir):
            raise error
    except Exception as told:
        message = user_message(told)
    try:
        found = folder.read(run_dir)
        if found is not None and found["status"] == folder.RUNNING:
            folder.mark_failed(run_dir, found["config_hash"], error, message)
    except OSError as second:
        log.warning("%s: the failure could not be noted there (%s).", run_dir, second)


def _train_in_processes(
    cfg: DictConfig, run_dir: Path, overrides: list[str] | None, start: folder.Start, processes: int
) -> float:
    folder.mark_running(run_dir, start, settings_of(cfg), overrides)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = (
        {"OMP_NUM_THREADS": "1"} | os.environ | {STARTER: str(os.getpid()), LEVEL: str(logging.getLogger("cvae").level)}
    )
    done = subprocess.run([*command, "-m", "cvae.runs.worker", str(run_dir)], env=environment, check=False)
    record = folder.read(run_dir) or {}
    if done.returncode != 0 or record.get("status") != folder.FINISHED:
        raise UserError(f"{run_dir}: one of {processes} processes failed; its error is printed above.")
    value: float = record["value"]
    return value


def wanted_processes(cfg: DictConfig) -> int:
    """Processes to start here; 1 if someone (torchrun, srun) has started them already.

    Raises:
        UserError: if those that were started are not as many as the trainer's config names.
    """
    trainer, devices = cfg.trainer, _devices(cfg)
    machines = trainer.get("num_nodes", 1)
    if started_together():
        if started() != devices * machines:
            raise UserError(
                f"{started()} processes were started together, but the trainer asks for {devices * machines}: "
                f"trainer.devices={devices} on each of trainer.num_nodes={machines} machines. "
                "trainer=ddp (ddp_cpu without GPUs) has both entries."
            )
        return 1
    if machines > 1:
        raise UserError(
            f"trainer.num_nodes is {machines}, but this process was started alone; start one for each device on each "
            "machine, with srun or torchrun (docs/sweeps.md shows how)."
        )
    # without a strategy's name Lightning takes DDP for several devices
    return devices if str(trainer.get("strategy", "auto")).startswith(("ddp", "auto")) else 1


def _devices(cfg: DictConfig) -> int:
    """Devices on each machine."""
    devices = cfg.trainer.devices
    if isinstance(devices, int) and devices > 0:
        return devices
    if isinstance(devices, int) or devices == "auto":
        # at least 1, so that Lightning says that there is none
        return max(torch.cuda.device_count(), 1) if cfg.trainer.accelerator in ("gpu", "cuda", "auto") else 1
    return len(str(devices).split(",")) if isinstance(devices, str) else len(devices)
