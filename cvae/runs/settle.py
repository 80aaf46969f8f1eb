"""The settling of a config: looked at once, before a run begins; what comes out is complete and is not changed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypedDict, cast, get_type_hints

import torch
from hydra.utils import get_class, instantiate
from omegaconf import MISSING, DictConfig, OmegaConf

from cvae.config import flatten, plain
from cvae.data import PairData, PairFiles
from cvae.errors import UserError
from cvae.generation import Plan
from cvae.inversion import gradient_alignment, has_isolated_solutions
from cvae.models import Evaluation, kind_of
from cvae.runs.gates import auto_gate, tell_gate
from cvae.runs.options import check_entries, check_options, imported
from cvae.tasks import Lines, Problem, Task
from cvae.tasks.spread import prior_conditions

log = logging.getLogger(__name__)

AUTO = "auto"
#: least alignment (:func:`cvae.inversion.gradient_alignment`) at which the y-term acts everywhere. Smooth functions
#: have 0.7 to 1, the oscillating ones of the tables 0.35 and less
ALIGNED = 0.5
LARGEST_SEED = 2**32 - 1
#: entries of Lightning's Trainer of which ``auto`` is a value
TRAINER_AUTO = ("trainer.accelerator", "trainer.devices", "trainer.strategy")
#: models that come with a latent of their own
OWN_LATENT = ("cvae.networks.mixture", "cvae.networks.starter")
#: what is made of one ``_target_``, and what holds several of them
BUILT, COLLECTED = ("data", "model", "loss", "optimizer", "scheduler"), ("callbacks", "logger")
#: smallest values that no constructor knows of
LEAST = {
    "threads": 1,
    "optimizer.weight_decay": 0,
    "trainer.max_epochs": -1,
    "trainer.gradient_clip_val": 0,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.num_nodes": 1,
    "callbacks.stop.patience": 0,
}


class TopEntries(TypedDict):
    """Types of the entries that belong to no group."""

    seed: int
    threads: int | None
    compile: bool
    test: bool
    ckpt_path: str | None
    init_from: str | None


class Optimized(TypedDict):
    """Types of the entries about what is optimized."""

    optimized_metric: str
    optimized_mode: Literal["max", "min"]


def settle(cfg: DictConfig) -> DictConfig:
    """The complete config of a run.

    It looks at the problem and the data, replaces every ``auto`` by the recipe's value or by what follows from the
    data, and checks names and types of all entries. Entries that the user has set stay. The result has no interpolation
    but that of the run's folder; settling it again gives the same.

    Args:
        cfg: the composed config; it is not changed.

    Raises:
        UserError: for an entry that makes no sense; the message names it.
    """
    cfg = cfg.copy()
    OmegaConf.set_struct(cfg, False)
    _check_whole(cfg)
    task = _look_at_data(cfg)
    _apply_recipe(cfg, task)
    _check_kind(cfg, task)
    _check_members(cfg.model.get("latent"))
    if cfg.model.get("latent") is not None and cfg.model.get("_target_") in OWN_LATENT:
        raise UserError(
            f"model.latent is set, but {cfg.model._target_} has a latent of its own; choose another model, for example "
            "model=dense."
        )
    _fill_from_task(cfg.model, task, "model")
    if cfg.optimizer.get("fused") == AUTO:
        # with mixed precision, Lightning refuses to clip the gradients of a fused optimiser
        precision = str(cfg.trainer.get("precision"))
        cfg.optimizer.fused = precision in ("32", "64") or precision.endswith("-true")
    _fill_optimized(cfg, task)
    settled = _resolved(cfg)
    _check(plain(_without(settled, "run_dir")))
    return settled


def _check_whole(cfg: DictConfig) -> None:
    """Check that nothing is left out, and the entries at the top, which others take their values from."""
    for name in (*BUILT, *COLLECTED, "trainer", "generation", "evaluation", "recipe"):
        if not isinstance(cfg.get(name), DictConfig):
            raise UserError(f"{name} is {cfg.get(name)}; it must be a mapping, as conf/train.yaml has it.")
    missing = [name for name in _places(OmegaConf.to_container(cfg), MISSING) if name != "run_dir"]
    if missing:
        raise UserError(f"{', '.join(missing)} must be set, for example with {missing[0]}=...; there is no default.")
    top = {name: cfg.get(name) for name in TopEntries.__annotations__}
    check_entries(top, TopEntries, "")
    if cfg.get("ckpt_path") is not None and cfg.get("init_from") is not None:
        raise UserError("ckpt_path and init_from are both set; go on with a training, or begin one, not both.")
    if not 0 <= cfg.seed <= LARGEST_SEED:
        raise UserError(f"seed is {cfg.seed}; it must be a whole number from 0 to {LARGEST_SEED}.")


def task_of(data: Mapping[str, Any]) -> Task:
    """The task of a config group ``data``, without its pairs; a gate that is ``auto`` follows from the prior.

    Raises:
        UserError: for an entry that makes no sense.
    """
    values = _without_auto(plain(data))
    left_open = _gate_is_auto(data)
    if left_open:
        # any will do: the spread of y does not depend on it
        values["gates"]["rmse"] = 1.0
    check_options({"data": values | {"_partial_": True}})
    task: Task = get_class(values["_target_"]).make_task(values)  # type: ignore[attr-defined]
    if left_open and isinstance(task, Problem):
        task = task.judged_by({"rmse": auto_gate(task, prior_conditions(task))})
    return task


def _gate_is_auto(data: Mapping[str, Any]) -> bool:
    gates = data.get("gates")
    return isinstance(gates, Mapping | DictConfig) and gates.get("rmse") == AUTO


def _without_auto(values: Any) -> Any:
    """Nested plain data without the entries that are ``auto``, directly or by interpolation."""
    if isinstance(values, dict):
        return {key: _without_auto(value) for key, value in values.items() if value != AUTO}
    return values


def plan_of(generation: Mapping[str, Any]) -> Plan:
    """The plan of a config group ``generation``.

    Raises:
        UserError: for an entry that makes no sense.
    """
    values = plain(generation)
    check_entries(values, Plan, "generation")
    return Plan(**values)


def _look_at_data(cfg: DictConfig) -> Task:
    """The task; sets ``data.directions`` to what a file shows, and a gate that is ``auto``; says what gate and spread
    of y are."""
    task = task_of(cfg.data)
    if not isinstance(task, Problem):
        return task
    y, origin = prior_conditions(task), "the prior"
    source = cfg.data.get("source")
    if source is not None and source.get("_target_") == "cvae.data.PairFiles":
        files: PairFiles = instantiate(source)
        seen = files.look(task)
        if seen.directions != task.space.config.get("directions"):
            cfg.data.directions = seen.directions
            task = cast(Problem, task_of(cfg.data))
        y, origin = task.by_condition(seen.y), str(files.paths["train"])
    if _gate_is_auto(cfg.data):
        cfg.data.gates.rmse = auto_gate(task, y)
        task = task.judged_by({"rmse": cfg.data.gates.rmse})
    if "columns" in cfg.recipe:  # not settled before
        tell_gate(task, y, origin)
    return task


def _apply_recipe(cfg: DictConfig, task: Task) -> None:
    """Decide what the recipe leaves to the problem, say so, and fill in its values."""
    recipe = cfg.recipe
    if "separate" not in recipe:
        raise UserError("recipe names a column of conf/recipe; set recipe.separate and recipe.y_term to true or false.")
    for name in ("separate", "y_term"):
        if recipe[name] != AUTO and not isinstance(recipe[name], bool):
            raise UserError(f"recipe.{name} is {recipe[name]!r}; it must be auto, true or false.")
    if "columns" not in recipe:
        return  # settled before
    separate, y_term = recipe.separate, recipe.y_term
    alignment = None
    if isinstance(task, Problem) and AUTO in (separate, y_term):
        alignment = gradient_alignment(task)
        separate = has_isolated_solutions(task) if separate == AUTO else separate
        y_term = alignment >= ALIGNED if y_term == AUTO else y_term
    separate, y_term = separate is True, y_term is True
    lines = isinstance(task, Problem) and isinstance(task.space, Lines)
    column = "separate" if separate else "continuum" if lines else "continuum_vectors"
    if alignment is not None:
        log.info("%s", explain(column, y_term, alignment))
    for name in (column, "y_everywhere" if y_term else "y_near"):
        _fill(cfg, recipe.columns[name])
    cfg.recipe = {"separate": separate, "y_term": y_term}


def explain(column: str, y_term: bool, alignment: float) -> str:
    """What the recipe takes, and why, in one line."""
    solutions = "are separate points" if column == "separate" else "form a continuum"
    gradient = "from afar: the y-term acts everywhere" if y_term else "from nearby only: the y-term comes late"
    return (
        f"the solutions of one y {solutions}: recipe {column}; the gradient of the misfit leads to them {gradient} "
        f"(alignment {alignment:.2f}). recipe.separate and recipe.y_term overrule this."
    )


def _fill(own: DictConfig, recipe: DictConfig) -> None:
    """Give every entry of ``own`` that is ``auto`` the recipe's value; what is set otherwise stays."""
    for key in recipe:
        value = recipe._get_node(key)
        if key not in own:
            continue
        present = own._get_node(key)
        if not (isinstance(present, DictConfig) and isinstance(value, DictConfig)):
            if own[key] == AUTO:
                own[key] = value
        elif present.get("_target_") == AUTO:
            # a part that is left to the recipe as a whole, below the entries that are set
            set_here = {name: entry for name, entry in present.items_ex(resolve=False) if entry != AUTO}
            own[key] = OmegaConf.merge(value, set_here)
        else:
            _fill(present, value)


def _check_kind(cfg: DictConfig, task: Task) -> None:
    """Check that the loss, the model and the task go together, and that nothing set for the model is ignored."""
    kind, target = kind_of(cfg), cfg.model.get("_target_")
    made = imported(target, "model") if target not in (None, AUTO) else None
    if not inspect.isclass(made):
        made = get_type_hints(made).get("return") if made is not None else None
    if inspect.isclass(made) and not issubclass(made, kind.network_type):
        raise UserError(f"model is {target} and loss is {cfg.loss.get('_target_')}, but {kind.network_needed}.")
    kind.check_settings(cfg, task)


def _check_members(latent: Any) -> None:
    """Check that the chosen members of conf/model/latent are of different kinds, as the last of one kind hides the
    others, and take their entry ``members`` away."""
    chosen = latent.pop("members", {}) if isinstance(latent, DictConfig) else {}
    for kind in ("noise", "divergence"):
        alike = [name for name in chosen if chosen[name] == kind]
        if len(alike) > 1:
            raise UserError(f"model/latent names {len(alike)} members for the {kind}: {', '.join(alike)}; choose one.")


def _fill_from_task(part: DictConfig, task: Task, where: str) -> None:
    """Fill the shapes and the space that a model takes from the data, and compare those that are given."""
    for key in list(part):
        name, value = f"{where}.{key}", part[key]
        if isinstance(value, DictConfig):
            _fill_from_task(value, task, name)
        elif key in ("x_shape", "y_shape"):
            true = list(getattr(task, str(key)))
            if value != AUTO and plain(value) != true:
                raise UserError(f"{name} is {plain(value)}, but the data give {true}; set {name}=auto.")
            part[key] = true
        elif key == "space" and value == AUTO:
            if not isinstance(task, Problem):
                raise UserError(f"{name} needs a task with a known function; use model/head=values.")
            part[key] = task.space.config


def _fill_optimized(cfg: DictConfig, task: Task) -> None:
    """Choose the measure that tells most of a model, and the direction in which it is better."""
    measures = task.measures()
    data: type[PairData] = get_class(cfg.data._target_)
    kind = kind_of(cfg)
    known = kind.measured() | {f"val/{name}" for name in (*measures, *data.measured)}
    headline = f"val/{task.headline}"
    if isinstance(task, Problem):
        # where solutions are separate, all draws of a y are hardly ever valid at once: val/score stays near 0
        headline = "val/valid" if cfg.recipe.separate else headline
        if (plain(cfg.data).get("evaluation") or {}).get("references", 0):
            finite = has_isolated_solutions(task)
            known |= {"val/mode_recall", "val/mode_recall_pooled"} if finite else {"val/coverage_ratio"}
            headline = "val/mode_recall" if finite else headline
    if cfg.optimized_metric == AUTO:
        cfg.optimized_metric = headline
    callbacks = {name: entry for name, entry in cfg.callbacks.items() if isinstance(entry, DictConfig)}
    # a callback of one's own may log measures of its own
    own = all(str(entry.get("_target_")).startswith(("cvae.", "lightning.")) for entry in callbacks.values())
    watched = {f"callbacks.{name}.monitor": entry.get("monitor") for name, entry in callbacks.items() if own}
    for name, measure in ({"optimized_metric": cfg.optimized_metric} | watched).items():
        if measure is not None and measure not in known:
            raise UserError(f"{name} is {measure!r}, which is not measured; choose one of {', '.join(sorted(known))}.")
    if cfg.optimized_mode == AUTO:
        name = str(cfg.optimized_metric).split("/")[-1]
        lower = name in (*kind.terms, *data.lower_is_better)
        lower = lower or (name in measures and measures[name].higher_is_better is False)
        cfg.optimized_mode = "min" if lower else "max"


def _resolved(cfg: DictConfig) -> DictConfig:
    """``cfg`` without interpolations but that of the run's folder, which may be moved."""
    cfg.run_dir = "."
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    settled: DictConfig = OmegaConf.create(_keep_folder(OmegaConf.to_container(cfg, resolve=False), values))
    settled.run_dir = MISSING
    return settled


def _keep_folder(raw: Any, value: Any) -> Any:
    """``value``, but the ``raw`` text wherever that asks for the run's folder."""
    if isinstance(raw, str) and "${run_dir}" in raw:
        return raw
    if isinstance(raw, dict) and isinstance(value, dict):
        return {key: _keep_folder(raw.get(key), entry) for key, entry in value.items()}
    if isinstance(raw, list) and isinstance(value, list):
        return [_keep_folder(one, other) for one, other in zip(raw, value, strict=True)]
    return value


def _without(cfg: DictConfig, name: str) -> DictConfig:
    """A copy of ``cfg`` in which the entry ``name`` is resolved to nothing of importance."""
    copy = cfg.copy()
    copy[name] = "."
    return copy


def _check(values: dict[str, Any]) -> None:
    """Check names and types of all entries, and the bounds that no constructor checks."""
    left = [name for name in _places(values, AUTO) if name not in TRAINER_AUTO and not name.startswith("choices.")]
    if left:
        raise UserError(f"{left[0]} is auto, but nothing says what it should be; set it.")
    check_entries({name: values.get(name) for name in Optimized.__annotations__}, Optimized, "")
    for name in BUILT:
        if "_target_" not in values[name]:
            raise UserError(f"{name} has no _target_; choose a member of conf/{name}, as {name}=NAME.")
        check_options(values[name], name)
    for name in COLLECTED:
        for key, entry in values[name].items():
            if entry is not None and "_target_" not in (entry if isinstance(entry, dict) else {}):
                raise UserError(f"{name}.{key} is {entry!r}; it must be a mapping with _target_, or null.")
        check_options(values[name], name)
    check_options(values["trainer"] | {"_partial_": True}, "trainer")
    # the plan first: the evaluation takes its draws from there
    check_entries(values["generation"], Plan, "generation")
    check_entries(values["evaluation"], Evaluation, "evaluation")
    flat = flatten(values)
    for name, smallest in LEAST.items():
        value = flat.get(name)
        if value is not None and value < smallest:
            raise UserError(f"{name} is {value}; it must be at least {smallest}.")
    _check_length(values["trainer"])
    _check_optimizer(values["optimizer"])


def _check_length(trainer: dict[str, Any]) -> None:
    """Refuse a training without an end, over which no schedule of the learning rate can be laid."""
    if trainer.get("max_epochs") == -1 and trainer.get("max_steps", -1) == -1:
        raise UserError("trainer.max_epochs is -1, a training without an end; set it, or +trainer.max_steps=N.")


def _check_optimizer(config: dict[str, Any]) -> None:
    """Check the learning rate, and let torch check the other options on a dummy parameter."""
    rate = config.get("lr")
    if rate is not None and not rate > 0:
        raise UserError(f"optimizer.lr is {rate}; it must be above 0.")
    try:
        instantiate(config)([torch.zeros(1, requires_grad=True)])
    except ValueError as error:
        raise UserError(f"optimizer: {error}.") from error


def _places(values: Any, word: str, where: str = "") -> Iterator[str]:
    """Names of the entries that are ``word``."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _places(value, word, f"{where}.{key}" if where else str(key))
    elif values == word:
        yield where
