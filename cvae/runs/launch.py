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

from cvae.errors import DivergedError, UserError, clear_disk_errors, user_message
from cvae.files import replacing
from cvae.generation import check_plan
from cvae.models import Generative
from cvae.models.checkpoints import read_content
from cvae.runs import folder
from cvae.runs.checkpoint_checks import Expected, check_continuable
from cvae.runs.checkpoint_files import resumable
from cvae.runs.locks import locked
from cvae.runs.loggers import check_loggers
from cvae.runs.ranks import rank, started, started_together
from cvae.runs.settle import settle
from cvae.runs.train import build, build_callbacks, build_trainer, generation_plan, settings_of, train

log = logging.getLogger(__name__)

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
        UserError: for a config that makes no sense, for a folder with links or the like where a run writes, for
            ``callbacks`` with several processes, which get plain data only, and if one of several processes fails.
        DivergedError: if the loss or the weights are no numbers any more.
    """
    if rank() > 0:
        # the other processes would only repeat what the first one says
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger("cvae").setLevel(logging.ERROR)
    cfg = settle(cfg)
    with clear_disk_errors(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        folder.check_own(run_dir)
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
    processes = wanted_processes(cfg)
    if processes > 1 and callbacks:
        raise UserError(f"callbacks beside the config's need one process, but the trainer asks for {processes}.")
    begun = False
    try:
        # here first, so that a mistake in the config is told before anything is written or another process starts
        plan = generation_plan(cfg)
        _, model = build(cfg, resumed=True)
        if plan is not None:
            check_plan(plan, model.task)
        own = build_callbacks(cfg, run_dir)
        build_trainer(cfg, run_dir, [*own], [])
        check_loggers(cfg.logger)
        start = _start(cfg, run_dir, Expected(config_hash, model, own, cfg.trainer.get("max_epochs")))
        if start.checkpoint is None:
            _check_given(cfg, model)
        if rank() == 0:
            if start.checkpoint is None and folder.read(run_dir) is not None:
                # what is there is of this run or of one that failed before its first epoch ended
                folder.clear(run_dir)
            with replacing(run_dir / folder.CONFIG) as temporary:
                temporary.write_text(OmegaConf.to_yaml(cfg))
            begun = True
        if processes > 1:
            return _train_in_processes(cfg, run_dir, overrides, start, processes)
        return train(cfg, run_dir, start, overrides, callbacks)
    except Exception as error:
        if begun:
            folder.check_there(run_dir)
        if rank() == 0:
            record_failure(run_dir, error)
        raise


def _start(cfg: DictConfig, run_dir: Path, expected: Expected) -> folder.Start:
    """Where a run goes on, or that it begins."""
    if (folder.read(run_dir) or {}).get("config_hash") != expected.run:
        return folder.Start(expected.run)
    start = resumable(run_dir, expected)
    if start.checkpoint is not None:
        log.info("%s: interrupted before; it goes on from %s.", run_dir, start.checkpoint.relative_to(run_dir))
    return start


def _check_given(cfg: DictConfig, model: Generative) -> None:
    """Check the checkpoint that a new training is to begin with."""
    if cfg.get("init_from") is not None:
        model.initialize(cfg.init_from)
    if cfg.get("ckpt_path") is not None:
        check_continuable(cfg.ckpt_path, read_content(cfg.ckpt_path), model, cfg.trainer)


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
    command = [sys.executable, "-m", "cvae.runs.agent", str(processes)]
    environment = (
        {"OMP_NUM_THREADS": "1"} | os.environ | {STARTER: str(os.getpid()), LEVEL: str(logging.getLogger("cvae").level)}
    )
    words = [str(run_dir), *([str(start.checkpoint)] if start.checkpoint else [])]
    # a group of its own: Ctrl-C reaches this process alone, which ends the others once
    with subprocess.Popen([*command, *words], env=environment, start_new_session=True) as agent:
        try:
            status = agent.wait()
        except BaseException:
            agent.terminate()
            agent.wait()
            raise
    record = folder.read(run_dir) or {}
    if record.get("status") == folder.DIVERGED:
        raise DivergedError(record["error"])
    if status != 0 or record.get("status") != folder.FINISHED:
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
    if isinstance(devices, int) or devices in ("auto", "-1"):
        # at least 1, so that Lightning says that there is none
        return max(torch.cuda.device_count(), 1) if cfg.trainer.accelerator in ("gpu", "cuda", "auto") else 1
    if isinstance(devices, str) and "," not in devices and "[" not in devices:
        return int(devices)
    return len(devices.strip(",").split(",")) if isinstance(devices, str) else len(devices)
