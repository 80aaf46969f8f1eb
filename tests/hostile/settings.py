"""Wrong entries: of a training, by the kind of value that each must have, and of the other commands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from cvae.config import config_folder, plain
from cvae.data import LightCurveData
from cvae.errors import clear_errors
from cvae.runs import launch, options
from cvae.runs.checks import without_folder
from cvae.runs.loggers import build_loggers
from cvae.runs.train import build, build_callbacks, build_trainer
from tests.conftest import ROOT
from tests.hostile.campaign import Case
from tests.hostile.good import Good, config, put

NAN, INF = math.nan, math.inf
#: values that are wrong for each kind of entry
TEXTS = ("abc", "")
NO_NUMBER = (None, *TEXTS, [1], {"a": 1}, NAN, INF, -INF, "${nope}", True)
NO_COUNT = (*NO_NUMBER, 1.5, -1, -(10**12))
WRONG: dict[str, tuple[Any, ...]] = {
    "count": (*NO_COUNT, 0),
    "count or zero": NO_COUNT,
    "positive": (*NO_NUMBER, 0, -1.0),
    "not negative": (*NO_NUMBER, -1.0),
    "share": (*NO_NUMBER, -0.1, 2),
    "flag": (None, "maybe", 2, 1.5, [True], {"a": True}, "${nope}"),
    "choice": (None, "nonsense", 3, ["nonsense"], {"a": 1}, "${nope}"),
    "part": (None, "nonsense", 3, [1], {"a": 1}, {"_target_": "nope.nope"}, {"_target_": 3}, "${nope}"),
    "sizes": (None, "abc", 5, [0], [-1], ["a"], [1.5], [None], [[8]], {"a": 1}, [8, 0], "${nope}"),
    "unknown": (1, None, "abc"),
}
#: of these kinds no value is meant by null
NULLABLE = "or null"

LINES = {
    "data": "part",
    "data.points": "count",
    "data.batch_size": "count",
    "data.seed": "count or zero",
    "data.source": "part",
    "data.source.train": "count",
    "data.source.validation": "count",
    "data.source.test": "count",
    "data.evaluation.validation": "count",
    "data.evaluation.test": "count",
    "data.evaluation.references": "count or zero",
    "data.tolerance": "not negative",
    "data.fresh": "flag",
    "data.gates": "part",
    "data.gates.rmse": "positive",
    "data.prior": "choice",
    "model": "part",
    "model.latent_dim": "count",
    "model.hidden": "sizes",
    "model.encoder_sees_y": "flag",
    "model.head": "part",
    "model.conditions": "unknown",
    "model.lines": "unknown",
    "loss": "part",
    "loss.likelihood": "part",
    "loss.beta": "not negative",
    "loss.wx": "not negative",
    "loss.wy": "not negative",
    "loss.reduction": "choice",
    "loss.elementwise": "unknown",
    "loss.beta_schedule": "part or null",
    "loss.beta_schedule.warmup_steps": "count or zero",
    "loss.y_term": "part or null",
    "loss.y_term.scale": "positive",
    "loss.y_term.saturation": "positive or null",
    "loss.y_term.start": "share",
    "optimizer": "part",
    "optimizer.lr": "positive",
    "optimizer.weight_decay": "not negative",
    "optimizer.foo": "unknown",
    "optimizer.momentum": "unknown",
    "scheduler": "part",
    "scheduler.warmup": "share",
    "scheduler.floor": "share",
    "generation": "part",
    "generation.draws": "count",
    "generation.candidates": "count or null",
    "generation.temperature": "positive or null",
    "generation.oversample": "count",
    "generation.refine_steps": "count or zero",
    "generation.backfill": "count or zero",
    "generation.explore": "count or zero",
    "generation.chunk": "count",
    "generation.seed": "count or zero",
    "generation.pool": "unknown",
    "trainer": "part",
    "trainer.max_epochs": "count",
    "trainer.check_val_every_n_epoch": "count or null",
    "trainer.gradient_clip_val": "not negative or null",
    "trainer.accumulate_grad_batches": "count",
    "trainer.foo": "unknown",
    "callbacks": "choice",
    "callbacks.checkpoint.mode": "choice",
    "callbacks.checkpoint.monitor": "choice or null",
    "callbacks.checkpoint.foo": "unknown",
    "callbacks.collapse.patience": "count",
    "callbacks.collapse.least_kl": "not negative",
    "evaluation": "choice",
    "evaluation.draws": "count",
    "evaluation.point_set": "choice",
    "evaluation.temperature": "positive",
    "evaluation.foo": "unknown",
    "recipe.separate": "flag",
    "recipe.y_term": "flag",
    "seed": "count or zero",
    "threads": "count or null",
    "compile": "flag",
    "test": "flag",
    "optimized_metric": "choice",
    "optimized_mode": "choice",
}
#: values that no kind has
ODD: dict[str, tuple[Any, ...]] = {
    "data.range": (None, "abc", 3, [0], [1, 0], [0, 0], [0, INF], [0, NAN], ["a", "b"], [0, 1, 2], {}, "${nope}"),
    "data.directions": (None, 5, "abc", [], ["up"], ["falling", 3], [None, None], {}, "${nope}"),
    "data.forward": (
        None,
        5,
        [],
        [5],
        [None],
        "",
        [""],
        ["x9"],
        ["1"],
        ["t"],
        ["0*x0"],
        ["x0 - x0"],
        ["1/0"],
        ["log(-1 - x0)"],
        {},
        {"a": 1},
        {"_target_": "nope.f"},
        {"_target_": 5},
        {"_target_": "os.getcwd"},
        {"_target_": "builtins.print"},
        {"_target_": "torch.rand"},
        ["x0", 5],
        [["x0"]],
        "${nope}",
    ),
    "data.gates.pearson": ("abc", [1], {"a": 1}, NAN, INF, -2, 2, "${nope}"),
    "data.prior": ([], ["uniform"], [1, 2, 3, 4], {"mean": 0}, [{"mean": 0, "std": -1}] * 4, [{"mean": "a"}] * 4),
    "model.x_shape": ([3, 3], "abc", 5, [], [-2, 50], {"a": 1}, "${nope}"),
    "model.y_shape": ([3, 3], "abc", 5, [], {"a": 1}, "${nope}"),
    "model._target_": ("os.system", "cvae.networks.nope", 5, None, "", "cvae.losses.squared", "builtins.dict"),
    "loss._target_": ("os.system", "cvae.losses.nope", 5, None, "cvae.networks.dense"),
    "optimizer._target_": ("os.system", "torch.optim.Nope", 5, None, "cvae.networks.dense"),
    "optimizer.betas": ([2, 3], "abc", 5, [0.9], None, [-1, 0.5]),
    "optimizer.eps": ("abc", -1, None, [1]),
    "optimizer.lr": (1e300,),
    "data._target_": ("os.system", "cvae.data.Nope", 5, None, "cvae.networks.dense"),
    "data.cache": (5, [1], {"a": 1}, True),
    "trainer.max_epochs": (-2,),
    "trainer.devices": (None, "abc", 0, -2, [], 1.5, {"a": 1}, "${nope}"),
    "trainer.accelerator": ("abc", 5, [1], {"a": 1}, "${nope}"),
    "trainer.precision": ("abc", 7, [1], {"a": 1}, "${nope}"),
    "trainer.strategy": ("abc", 5, [1], {"a": 1}, "${nope}"),
    "trainer.num_sanity_val_steps": ("abc", -2, 1.5, [1]),
    "trainer.num_nodes": ("abc", 0, -1, 1.5, 2, None),
    "trainer.limit_val_batches": (0, "abc", -1, [1]),
    "trainer.limit_train_batches": (0, "abc", -1, [1]),
    "trainer.max_steps": ("abc", -2, 1.5),
    "trainer.max_time": ("abc", [1]),
    "trainer.callbacks": ([], 5, ["a"]),
    "trainer.logger": ("abc", 5, {"a": 1}),
    "trainer.plugins": ("abc", 5, [5]),
    "trainer.default_root_dir": ("elsewhere", 5),
    "callbacks.checkpoint": (5, "abc", [1], {"a": 1}),
    "callbacks.checkpoint.dirpath": ("elsewhere", "../guard/victim", 5),
    "callbacks.last.dirpath": ("elsewhere", "../guard/victim", 5),
    "callbacks.checkpoint.filename": ("../../../guard/best", 5, [1]),
    "callbacks.last.filename": ("../../../guard/last", 5),
    "callbacks.extra": (5, {"_target_": "nope.Nope"}, {"_target_": "os.getcwd"}, {"_target_": "cvae.losses.squared"}),
    "logger": (5, "abc", [1], None),
    "logger.extra": (5, {"_target_": "nope.Nope"}, {"a": 1}),
    "ckpt_path": (5, ["a"], "nowhere.ckpt", "../guard/precious.txt", "../guard", ""),
    "init_from": (5, ["a"], "nowhere.ckpt", "../guard/precious.txt", "../guard", ""),
    "optimized_metric": ("val/luck", ["val/score"], 5),
    "seed": (2**32, 10**30),
    "recipe": (None, 5, "abc", [1], {}),
}
#: other tasks: what is composed, and its own entries
OTHERS: tuple[tuple[tuple[str, ...], dict[str, str], dict[str, tuple[Any, ...]]], ...] = (
    (
        ("data=vector", "data.bounds=[[-1,1],[0,2]]", "data.forward=[x0 * x1]"),
        {"data.gates.rmse": "positive", "data.prior": "choice", "data.batch_size": "count"},
        {
            "data.bounds": (
                None, 5, "abc", [], [[1, 0]], [[0, 0], [0, 1]], [[0, INF], [0, 1]], [[0, NAN], [0, 1]], [["a", "b"]],
                [[0, 1, 2]], [[0, 1]], {"a": 1}, [0, 1], "${nope}",
            ),
            "data.forward": (None, 5, [], ["x7"], ["t"], ["1"], "${nope}"),
            "data.directions": (["falling"],),
            "data.points": (50,),
        },
    ),
    (
        ("experiment=mixture",),
        {
            "data.components": "count or null", "data.dimensions": "count", "data.separation": "positive",
            "data.train": "count", "data.validation": "count", "data.test": "count", "data.batch_size": "count",
            "data.seed": "count or zero", "model.latent_dim": "count",
        },
        {"data.components": (1, 9, 10**9), "data.forward": (["x0"],)},
    ),
    (
        ("experiment=swiss_roll",),
        {"data.batch_size": "count", "data.seed": "count or zero", "model.hidden": "sizes"},
        {"loss": (None, 5, {"_target_": "cvae.losses.Objective"})},
    ),
    (
        ("experiment=sea_temperature",),
        {"data.batch_size": "count", "data.year_noise": "not negative", "data.seed": "count or zero"},
        {"data.file": (5, "nowhere.csv", "../guard", "../guard/precious.txt", ["a"])},
    ),
    (
        ("experiment=digits",),
        {"data.batch_size": "count", "data.trials": "count", "data.seed": "count or zero"},
        {"data.root": ("nowhere",)},
    ),
)  # fmt: skip


def entries(good: Good, rng: Random) -> Iterator[Case]:
    """Entries of a training."""
    yield from _of((), LINES, ODD)
    for words, kinds, odd in OTHERS:
        yield from _of(words, kinds, odd)


def _of(words: tuple[str, ...], kinds: Mapping[str, str], odd: Mapping[str, tuple[Any, ...]]) -> Iterator[Case]:
    for name, kind in kinds.items():
        nullable = kind.endswith(NULLABLE)
        for value in WRONG[kind.removesuffix(f" {NULLABLE}")]:
            if not (nullable and value is None):
                yield entry(words, name, value)
    for name, values in odd.items():
        for value in values:
            yield entry(words, name, value)


def entry(words: tuple[str, ...], name: str, value: Any) -> Case:
    """One entry of a training that is composed with ``words``."""

    def act(run: Path) -> DictConfig:
        cfg = put(config(*words, name="train" if not words or "vector" in words[0] else "other"), name, value)
        return begun(cfg, run)

    # a wrong part is told by any of its entries
    return Case(f"{' '.join([*words, name])}={value!r}", act, things=_things(name, value))


def begun(cfg: DictConfig, run: Path) -> DictConfig:
    """Do what a training does before its first step; its settled config."""

    def begin(settled: DictConfig, run_dir: Path, *_: Any) -> float:
        cfg = settled.copy()
        cfg.run_dir = str(run_dir)
        build_trainer(cfg, run_dir, build_callbacks(cfg, run_dir), build_loggers(cfg.logger.values(), None))
        data, _ = build(cfg)
        # magnification maps take minutes
        if not isinstance(data, LightCurveData):
            assert len(data.splits.train.x) > 0
        return 0.0

    with patch.object(launch, "train", side_effect=begin) as train, patch.object(launch, "_train_in_processes", train):
        launch.run(cfg, run)
    settled: DictConfig = train.call_args.args[0]
    return settled


# --- every entry of the shipped configs

SMALL = ("data.source.train=200", "data.source.validation=20", "data.source.test=20")
#: overrides of the configs whose entries are tried
BASES: tuple[tuple[str, ...], ...] = (
    SMALL,
    ("data=two_birds", *SMALL),
    ("data=vector_file", f"data.source.train={ROOT}/examples/pairs.npz", "data.bounds=[[-2,2],[-2,2]]",
     "data.forward=['x0**2 + x1**2','x0*x1']"),
    *((f"experiment={path.stem}",) for path in sorted((ROOT / "conf" / "experiment").glob("*.yaml"))),
)  # fmt: skip
VALUES = ("null", "abc", "-1", "0", "1.5", "[]", "{}", "true", "inf", "nan", "'${nope}'")
#: of these values, the entries that may have them; an empty mapping changes nothing in another
SENSIBLE: dict[str, tuple[str, ...]] = {
    "null": (
        "threads", "ckpt_path", "init_from", "data.cache", "data.evaluation", "data.source.validation",
        "data.source.test", "data.components", "data.file", "data.radii", "data.projection", "data.source.beyond",
        "loss.beta_schedule",
        "loss.y_term", "loss.y_term.saturation", "loss.set_objective", "generation.candidates",
        "generation.temperature", "evaluation.steps", "evaluation.step_size", "callbacks.checkpoint",
        "callbacks.checkpoint.filename", "callbacks.checkpoint.monitor", "callbacks.last", "callbacks.figures",
        "callbacks.collapse", "callbacks.progress", "callbacks.last.monitor", "callbacks.*.save_last",
        "callbacks.*.every_n_*", "callbacks.*.train_time_interval", "callbacks.*.save_on_train_epoch_end",
        "logger.tensorboard", "logger.csv", "logger.csv.name", "logger.csv.version", "logger.tensorboard.purge_step",
        "trainer.gradient_clip_*", "trainer.min_*", "trainer.max_time", "trainer.limit_*_batches",
        "trainer.val_check_interval", "trainer.check_val_every_n_epoch", "trainer.log_every_n_steps",
        "trainer.enable_*", "trainer.num_sanity_val_steps", "trainer.precision", "trainer.deterministic",
        "trainer.benchmark", "trainer.profiler", "trainer.plugins", "trainer.model_registry", "optimizer.foreach",
        "optimizer.fused", "model.latent", "model.repeat_y",
    ),
    "abc": (
        "data.cache", "callbacks.checkpoint.filename", "logger.csv.name", "logger.csv.version", "logger.csv.prefix",
        "trainer.model_registry",
    ),
    "-1": ("data.gates.pearson", "data.source.gamma", "trainer.devices", "trainer.num_sanity_val_steps",
           "trainer.max_steps", "callbacks.*.save_top_k", "logger.csv.version", "logger.tensorboard.purge_step"),
    "0": (
        "seed", "*.seed", "loss.beta", "loss.w?", "loss.beta_schedule.warmup_steps", "loss.*.start",
        "loss.set_objective.*", "loss.restarts", "loss.decay", "evaluation.steps", "data.tolerance",
        "data.gates.pearson", "data.evaluation.references", "data.year_noise", "data.noise", "data.source.maps.beyond",
        "data.source.kappa",
        "data.source.gamma", "data.source.smooth", "optimizer.weight_decay", "optimizer.eps", "scheduler.*",
        "generation.refine_steps", "generation.backfill", "generation.explore", "generation.unseen",
        "callbacks.*.every_n_*", "callbacks.checkpoint.save_top_k", "callbacks.collapse.*",
        "callbacks.progress.refresh_rate", "logger.tensorboard.purge_step", "logger.csv.version",
        "trainer.gradient_clip_val",
        "trainer.min_*", "trainer.num_sanity_val_steps", "trainer.overfit_batches", "trainer.log_every_n_steps",
        "trainer.fast_dev_run", "trainer.reload_dataloaders_every_n_epochs", "trainer.limit_predict_batches",
    ),
    "1.5": (
        "loss.beta", "loss.w?", "loss.beta_schedule.anneal", "loss.y_term.scale", "loss.y_term.saturation",
        "loss.set_objective.weight", "loss.step_size", "loss.decay", "data.tolerance", "data.gates.rmse",
        "data.separation",
        "data.year_noise", "data.noise", "data.source.kappa", "data.source.gamma", "data.source.smooth",
        "data.source.length", "model.spread", "optimizer.lr", "optimizer.weight_decay", "optimizer.eps",
        "evaluation.temperature", "evaluation.step_size", "generation.temperature", "callbacks.collapse.least_kl",
        "trainer.gradient_clip_val",
    ),
    "[]": ("callbacks.progress.measures", "trainer.plugins"),
    "true": (
        "compile", "test", "data._recursive_", "data.fresh", "data.source.trust_y", "recipe.*", "model.*_sees_y",
        "model.learned_prior", "optimizer._partial_", "optimizer.fused", "optimizer.foreach", "optimizer.amsgrad",
        "optimizer.maximize", "optimizer.differentiable", "optimizer.capturable", "optimizer.decoupled_weight_decay",
        "callbacks.*.auto_insert_metric_name", "callbacks.checkpoint.enable_version_counter", "callbacks.*.verbose",
        "callbacks.*.save_*", "trainer.enable_*", "trainer.fast_dev_run", "trainer.deterministic",
        "trainer.benchmark", "trainer.inference_mode", "trainer.use_distributed_sampler", "trainer.detect_anomaly",
        "trainer.sync_batchnorm", "trainer.profiler",
    ),
}  # fmt: skip
#: what a run or the project fills in
DECIDED_ELSEWHERE = ("choices", "run_dir", "columns")
#: what imports, and is nothing that a run is made of
TARGETS = ("builtins.dict", "torch.nn.Linear", "nowhere.f")


def shipped(good: Good, rng: Random) -> Iterator[Case]:
    """A value that most entries cannot have for each entry of the shipped configs, and for each that could be added.
    Entries that several configs share with their values come once."""
    seen = set()
    for words in BASES:
        for name, value in _entries(config(*words, name="shipped")):
            if (name, str(value)) not in seen:
                seen.add((name, str(value)))
                for text in TARGETS * name.endswith("._target_") + VALUES:
                    yield _shipped((*words, f"{name}={text}"))


def _shipped(words: tuple[str, ...]) -> Case:
    name, _, given = words[-1].lstrip("+").partition("=")

    def act(run: Path) -> tuple[Any, Any]:
        cfg = changed(words)
        return OmegaConf.select(cfg, name), OmegaConf.select(begun(cfg, run), name)

    def kept(found: tuple[Any, Any]) -> bool:
        # True is equal to 1; an empty mapping changes nothing in another
        wanted, used = found
        if given == "{}":
            return isinstance(wanted, DictConfig) and len(wanted) > 0
        return type(wanted) is type(used) and bool(wanted == used)

    where, _, key = name.rpartition(".")
    # of a target, the message may name what it is the target of, or what it makes
    group = name.removesuffix("._target_")
    things = (
        (name, group, f"{group}._partial_", given)
        if group != name
        else (name, f"{where}: `{key}`", f"{key}={given}", f"{key}={given.capitalize()}")
    )
    # of a file, its name
    things = (*things, f"{given}: no such")
    sensible = any(fnmatch(name, pattern) for pattern in SENSIBLE.get(given, ()))
    return Case(" ".join(words), act, kept if sensible or given == "{}" else None, things)


def changed(words: Sequence[str]) -> DictConfig:
    """The composed config; that of all overrides but the last is composed once."""
    *overrides, last = words
    name, _, value = last.lstrip("+").partition("=")
    # as Hydra does it
    given = OverridesParser.create().parse_override(f"+{name}={value}").value()
    cfg = config(*overrides, name="shipped")
    OmegaConf.set_struct(cfg, False)
    OmegaConf.update(cfg, name, given, force_add=True)
    return cfg


def _entries(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Names and values of all entries, and with ``+`` of those that could be added."""
    yield from _written(OmegaConf.to_container(cfg, resolve=False))
    for where, target in _targets(plain(without_folder(cfg))):
        known, _ = options._options(options.imported(target["_target_"], where))
        yield from ((f"+{where}.{key}", target["_target_"]) for key in known if key not in target)


def _written(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if where:
        yield where, value
    if isinstance(value, dict):
        for key, child in value.items():
            if key not in DECIDED_ELSEWHERE:
                yield from _written(child, f"{where}.{key}" if where else key)


def _targets(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict) and where != "recipe":
        if value.get("_target_", "auto") != "auto":
            yield where, value
        for key, child in value.items():
            yield from _targets(child, f"{where}.{key}" if where else key)


# --- the other commands

#: entries of the other commands: the kind of each, and what no kind has
COMMANDS: dict[str, tuple[dict[str, str], dict[str, tuple[Any, ...]]]] = {
    "generate": (
        {"draws": "count", "seed": "count or zero", "generation.refine_steps": "count or zero",
         "generation.foo": "unknown", "generation.temperature": "positive or null", "gates.rmse": "positive or null"},
        {
            "unseen": (-1, "abc", 1.5, None, [1], True), "checkpoint": (None, 5, "nowhere.ckpt", "../guard", [1], ""),
            "out": (None, 5, "x.txt", "x", "", "../guard", "../guard/precious.txt/x.npz", [1], "/dev/null/x.npz"),
            "picture": ("x.txt", 5, "", "../guard/precious.txt/x.png", [1]), "number": (7, "abc", -1, [1]),
            "condition": ("nowhere.csv", 5, "../guard", "../guard/precious.txt", [1], ""),
            "gates": (None, 5, {"foo": 1}), "gates.pearson": (2, "abc", NAN), "allow": (None, "abc", 5, {"a": 1}),
            "generation": (None, 5, "abc"), "generation.candidates": (1, "abc"),
        },
    ),
    "submit": (
        {"draws": "count", "seed": "count or zero", "force": "flag"},
        {
            "checkpoint": (None, 5, "nowhere.ckpt", "../guard", ""),
            "conditions": (None, 5, "nowhere.csv", "../guard", ""),
            "out": (None, "", "../guard", "../guard/precious.txt", "../guard/precious.txt/x", [1], "/dev/null/x"),
            "allow": (None, "abc", 5), "generation": (None, 5, "abc"),
        },
    ),
    "score": (
        {"draws": "count", "data.gates.rmse": "positive", "data": "part"},
        {
            "file": (None, 5, "nowhere.pt", "../guard", "../guard/precious.txt", "", [1]),
            "data.forward": (None, 5, [], ["x7"], ["1/"], {"_target_": "os.getcwd"}),
            "data.range": (None, [1, 0], "abc"), "data.points": (7, 0, "abc", None, 10**12),
        },
    ),
    "compare": (
        {},
        {
            "dir": (None, 5, "nowhere", "../guard", "../guard/precious.txt", "", [1]),
            "metrics": ("val/score", 5, ["val/luck"], [5], {"a": 1}), "sort": ("val/luck", 5, ["val/score"]),
            "out": (5, "", "../guard", "../guard/precious.txt/x.csv", [1]), "figure": (5, "x.txt", "", "../guard", [1]),
        },
    ),
    "tune": (
        {"trials": "count or zero", "seed": "count or zero", "interval": "count"},
        {
            "timeout": ("abc", -1, [1], NAN), "study": (5, [1], "../../guard/victim", "/abs/olute", ""),
            "checkpoints": (None, 5, "most"), "storage": (5, "nonsense", "nosql://x", "sqlite:////no/where/s.db", [1]),
            "overrides": (None, 5, "abc", [5], ["nope=1"], ["data=nope"], ["="], {"a": 1}), "out": (None, 5, [1]),
            "search": (None, 5, "abc", {}, {"space": 5}), "search.metric": (None, 5, [1]),
            "search.space": (None, 5, "abc", {}, {"model.latent_dim": 5}, {"nope": {"low": 1, "high": 2}}),
        },
    ),
}  # fmt: skip


def commands(good: Good, rng: Random) -> Iterator[Case]:
    """Entries of the commands beside the training."""
    for name, (kinds, odd) in COMMANDS.items():
        values = {entry: WRONG[kind.removesuffix(f" {NULLABLE}")] for entry, kind in kinds.items()}
        for entry, wrong in [*values.items(), *odd.items()]:
            nullable = kinds.get(entry, "").endswith(NULLABLE)
            for value in wrong:
                if not (nullable and value is None):
                    yield _command(good, name, entry, value)


def _command(good: Good, name: str, entry: str, value: Any) -> Case:
    needed: dict[str, dict[str, Any]] = {
        "generate": {"checkpoint": str(good.best), "unseen": 2, "out": "{run}/x.npz", "draws": 3},
        "submit": {"checkpoint": str(good.best), "conditions": "{run}/y.csv", "out": "{run}/bundle", "draws": 3},
        "score": {"file": "{run}/x.npz", "draws": 3},
        "compare": {"dir": str(good.whole.parent), "out": "{run}/x.csv", "figure": None},
        "tune": {"trials": 0, "out": "{run}/search"},
    }

    def act(run: Path) -> None:
        rows = np.tile(np.linspace(0.2, 0.4, 50), (3, 1))
        np.savetxt(run / "y.csv", rows[:, ::-1] ** 2, delimiter=",")
        x = np.stack([rows[:, ::-1], rows], axis=1)
        np.savez(run / "x.npz", x=x, y=np.repeat(x[:1, :1] * x[:1, 1:], 3, axis=0))
        cfg = config(name=name)
        for key, given in needed[name].items():
            put(cfg, key, given.format(run=run) if isinstance(given, str) else given)
        body = import_module(f"cvae.commands.{name}")
        if name == "tune":
            tune(put(cfg, entry, value))
        else:
            with patch("cvae.challenge.submit.run_standalone"):
                body.run(put(cfg, entry, value))

    # some entries stand for one of a group of the training's, and some groups are shown whole
    group = entry.rpartition(".")[0]
    shown = (f"{group} is",) if group else (f"generation.{entry}",)
    return Case(f"{name} {entry}={value!r}", act, things=_things(entry, value) + shown)


def _things(entry: str, value: Any) -> tuple[str, ...]:
    """What a message may name: the entry, what is missing or wrong in a mapping, or the file that it names."""
    below = (f"{entry}.",) if isinstance(value, Mapping) else ()
    # of an interpolation, what it asks for
    named = (value, value.strip("${}")) if isinstance(value, str) and value.strip("${}") else ()
    return (entry, f"{entry.rpartition('.')[2]}={value}", *below, *named)


def tune(cfg: Any) -> None:
    """Work on a study as its command does."""
    from cvae.runs import tune as search

    with clear_errors(), initialize_config_dir(str(config_folder()), version_base="1.3"):
        search.tune(cfg, "default")
