"""Numbers of a config, checked before anything is built of them."""

from __future__ import annotations

import math
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf


class Number(NamedTuple):
    """What an entry must be.

    Attributes:
        least: smallest value; None for any.
        above: whether ``least`` itself is excluded.
        whole: whether it must be a whole number.
    """

    least: float | None = None
    above: bool = False
    whole: bool = False

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.least is None:
            return kind
        return f"{kind} {'above' if self.above else 'of at least'} {self.least:g}"

    def accepts(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        if not math.isfinite(value):
            return False
        return self.least is None or (value > self.least if self.above else value >= self.least)


COUNT = Number(1, whole=True)
NATURAL = Number(0, whole=True)
WEIGHT = Number(0)
POSITIVE = Number(0, above=True)

#: entries with a number; finer bounds are checked where they are used
NUMBERS = {
    "seed": NATURAL,
    "threads": COUNT,
    "optimizer.lr": POSITIVE,
    "optimizer.weight_decay": WEIGHT,
    "optimizer.momentum": WEIGHT,
    "scheduler.warmup": WEIGHT,
    "scheduler.floor": WEIGHT,
    "scheduler.peak": POSITIVE,
    "trainer.max_epochs": Number(-1, whole=True),
    "trainer.max_steps": Number(-1, whole=True),
    "trainer.check_val_every_n_epoch": COUNT,
    "trainer.gradient_clip_val": WEIGHT,
    "trainer.num_nodes": COUNT,
    "data.points": Number(2, whole=True),
    "data.batch_size": COUNT,
    "data.tolerance": WEIGHT,
    "data.gates.pearson": Number(),
    "data.gates.rmse": Number(),
    "data.source.held_out": COUNT,
    "data.evaluation.validation": Number(whole=True),
    "data.evaluation.test": Number(whole=True),
    "data.evaluation.references": Number(whole=True),
    "model.latent_dim": COUNT,
    "model.components": COUNT,
    "loss.beta": WEIGHT,
    "loss.wx": WEIGHT,
    "loss.wy": WEIGHT,
    "loss.anneal": POSITIVE,
    "loss.y_scale": Number(),
    "loss.y_saturation": POSITIVE,
    "loss.y_from": WEIGHT,
    "loss.warmup_steps": NATURAL,
    "loss.elementwise.delta": POSITIVE,
    "evaluation.temperature": Number(),
    "generation.count": Number(whole=True),
    "generation.pool": Number(whole=True),
    "generation.temperature": Number(),
    "generation.refine_steps": Number(whole=True),
    "generation.search": Number(whole=True),
    "generation.explore": Number(whole=True),
    "generation.chunk": Number(whole=True),
}
SIMULATED = "cvae.data.Simulation"
LARGEST_SEED = 2**32 - 1


def check_numbers(cfg: DictConfig) -> None:
    """Check every entry that must be a number; null and entries that the config does not have are left alone.

    Raises:
        ValueError: naming the first entry that is not what it must be, its value and what is allowed.
    """
    numbers = dict(NUMBERS)
    if OmegaConf.select(cfg, "data.source._target_") == SIMULATED:
        numbers |= {f"data.source.{split}": Number(whole=True) for split in ("train", "validation", "test")}
    for name, number in numbers.items():
        value = OmegaConf.select(cfg, name)
        if value is not None and not number.accepts(value):
            raise ValueError(f"{name} is {value!r}; it must be {number}.")
    if cfg.get("seed") is None or cfg.seed > LARGEST_SEED:
        raise ValueError(f"seed is {cfg.get('seed')}; it must be a whole number from 0 to {LARGEST_SEED}.")
