"""What a hostile input is made from: a small run, the same one interrupted, and good files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback
from omegaconf import DictConfig, OmegaConf

from cvae.runs.compose import compose
from cvae.runs.launch import run

#: overrides that make a run last for half a second
TINY = (
    "data.source.train=64",
    "data.source.validation=16",
    "data.source.test=16",
    "data.batch_size=32",
    "data.evaluation.validation=4",
    "data.evaluation.test=4",
    "data.evaluation.references=0",
    "generation.draws=5",
    "trainer.max_epochs=2",
    "model=dense",
    "model.hidden=[8]",
    "threads=1",
    "test=false",
    "~callbacks.progress",
    "~callbacks.figures",
    "logger={}",
)
#: what other tasks share of them
SHARED = ("trainer.max_epochs=2", "threads=1", "~callbacks.progress", "~callbacks.figures", "logger={}")

COMPOSED: dict[tuple[str, ...], DictConfig] = {}


class Good(NamedTuple):
    """Folders of the run that finished, of the same one that was interrupted after its first epoch, and of another."""

    whole: Path
    interrupted: Path
    other: Path

    @property
    def best(self) -> Path:
        """The checkpoint that was kept."""
        return self.whole / "checkpoints" / "best.ckpt"


def config(*words: str, name: str = "train") -> DictConfig:
    """A composed config, its own copy: ``train`` is tiny and of lines, ``other`` of others, ``shipped`` as it is."""
    key = (name, *words)
    if key not in COMPOSED:
        shared = {"train": TINY, "other": SHARED}.get(name, ())
        COMPOSED[key] = compose("train" if name in ("other", "shipped") else name, [*shared, *words])
    return COMPOSED[key].copy()


def prepare(folder: Path) -> Good:
    """Train what :class:`Good` holds."""
    good = Good(folder / "whole", folder / "interrupted", folder / "other")
    run(config(), good.whole)
    try:
        run(config(), good.interrupted, callbacks=[Interrupt()])
    except Interrupt.Error:
        shutil.rmtree(good.interrupted / "csv", ignore_errors=True)
    run(config("seed=1"), good.other)
    return good


class Interrupt(Callback):
    """Ends a training in its second epoch."""

    class Error(RuntimeError):
        """The interruption."""

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 1:
            raise self.Error("interrupted")


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    """The weights in a checkpoint of a run."""
    return torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]


def resumptions(folder: Path) -> list[int]:
    """For each time that a finished run went on, how many epochs were done."""
    found: list[int] = json.loads((folder / "result.json").read_text()).get("resumed")
    return found


def epochs_done(folder: Path) -> list[int]:
    """What a run that is given again adds to :func:`resumptions`: the epoch of its last checkpoint, or of the other."""
    for name in ("last.ckpt", "best.ckpt"):
        if (folder / "checkpoints" / name).is_file():
            return [torch.load(folder / "checkpoints" / name, weights_only=True)["epoch"] + 1]
    return []


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two models have equal weights."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def put(cfg: DictConfig, entry: str, value: Any) -> DictConfig:
    """The config with one entry replaced or added, whatever is there."""
    OmegaConf.set_struct(cfg, False)
    OmegaConf.update(cfg, entry, value, merge=False, force_add=True)
    return cfg
