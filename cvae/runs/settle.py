"""The settling of a config: looked at once, before a run begins; what comes out is complete and is not changed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any, cast, get_type_hints

from hydra.utils import get_class, instantiate
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from cvae.config import plain
from cvae.data import PairData, PairFiles
from cvae.errors import UserError
from cvae.generation import Plan
from cvae.inversion import gradient_alignment, has_isolated_solutions
from cvae.models import SET_TERMS, kind_of
from cvae.runs.checks import AUTO, COLLECTED, check_composed, check_settled, clear_interpolations
from cvae.runs.gates import auto_gate, tell_forward, tell_gate
from cvae.runs.options import check_entries, check_options, imported
from cvae.tasks import Lines, Problem, Task
from cvae.tasks.spread import accepted_share, prior_conditions

log = logging.getLogger(__name__)

#: least alignment (:func:`cvae.inversion.gradient_alignment`) at which the y-term acts everywhere. Smooth functions
#: have 0.7 to 1, the oscillating ones of the tables 0.35 and less
ALIGNED = 0.5
#: share of the prior that passes the gates of a condition below which a continuum is thin
THIN = 0.05
#: models that come with a latent of their own
OWN_LATENT = ("cvae.networks.branches", "cvae.networks.mixture", "cvae.networks.starter")


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
    with clear_interpolations(cfg):
        return _settled(cfg)


def _settled(cfg: DictConfig) -> DictConfig:
    check_composed(cfg)
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
        cfg.optimizer.fused = precision in ("32", "32-true")
    _fill_optimized(cfg, task)
    settled = _resolved(cfg)
    check_settled(settled)
    return settled


def task_of(data: Mapping[str, Any]) -> Task:
    """The task of a config group ``data``, without its pairs; a gate that is ``auto`` follows from the prior.

    Raises:
        UserError: for an entry that makes no sense.
    """
    values = _without_auto(plain(data))
    if not (isinstance(values, Mapping) and isinstance(values.get("_target_"), str)):
        raise UserError(f"data is {values}; it must be a mapping with _target_, a member of conf/data.")
    left_open = _gate_is_auto(data)
    if left_open:
        # any will do: the spread of y does not depend on it
        values["gates"]["rmse"] = 1.0
    made = imported(values["_target_"], "data")
    if not (inspect.isclass(made) and issubclass(made, PairData)):
        raise UserError(f"data._target_ is {values['_target_']}, which makes no pairs; choose a member of conf/data.")
    check_options({"data": {**values, "_partial_": True}})
    task: Task = made.make_task(values)  # type: ignore[attr-defined]
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
    if not isinstance(values, Mapping):
        raise UserError(f"generation is {values}; it must be a mapping, a member of conf/generation.")
    check_entries(values, Plan, "generation")
    return Plan(**values)


def _look_at_data(cfg: DictConfig) -> Task:
    """The task; sets ``data.directions`` to what a file shows, and a gate that is ``auto``; says what f, gate and
    spread of y are."""
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
        tell_forward(task)
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
    accepted = accepted_share(cast(Problem, task)) if column == "continuum" else None
    if accepted is not None and accepted < THIN:
        column = "continuum_thin"
    if alignment is not None:
        log.info("%s", explain(column, y_term, alignment, accepted))
    for name in (column, "y_everywhere" if y_term else "y_near"):
        _fill(cfg, recipe.columns[name])
    cfg.recipe = {"separate": separate, "y_term": y_term}


def explain(column: str, y_term: bool, alignment: float, accepted: float | None = None) -> str:
    """What the recipe takes, and why, in one line."""
    solutions = "are separate points" if column == "separate" else "form a continuum"
    if accepted is not None:
        epochs = "more epochs" if accepted < THIN else "few epochs"
        share = f"{100 * accepted:.2g} % of the prior passes the gates of a y"
        solutions += f" (on average {share}, so training takes {epochs})"
    gradient = "from afar: the y-term acts everywhere" if y_term else "from nearby only: the y-term comes late"
    return (
        f"the solutions of one y {solutions}: recipe {column}; the gradient of the misfit leads to them {gradient} "
        f"(alignment {alignment:.2f}). recipe.separate, recipe.y_term and trainer.max_epochs overrule this."
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
    sets = cfg.loss.get("set_objective")
    if isinstance(sets, DictConfig) and sets.get("weight"):
        known |= {f"train/{name}" for name in SET_TERMS}
    headline = f"val/{task.headline}"
    if isinstance(task, Problem):
        # where solutions are separate, all draws of a y are hardly ever valid at once: val/score stays near 0
        headline = "val/valid" if cfg.recipe.separate else headline
        if (plain(cfg.data).get("evaluation") or {}).get("references", 0):
            finite = has_isolated_solutions(task)
            against = ("mode_recall", "mode_recall_pooled") if finite else ("coverage_ratio", "reference_distance")
            known |= {f"val/{name}" for name in against}
            headline = "val/mode_recall" if finite else headline
    if cfg.optimized_metric == AUTO:
        cfg.optimized_metric = headline
    watched = [("optimized_metric", cfg.optimized_metric), *_watched(cfg)]
    for name, measure in watched:
        if isinstance(measure, str) and measure not in known:
            raise UserError(f"{name} is {measure!r}, which is not measured; choose one of {', '.join(sorted(known))}.")
    if cfg.optimized_mode == AUTO:
        name = str(cfg.optimized_metric).split("/")[-1]
        lower = name in (*kind.terms, "set_violation", "reference_distance", *data.lower_is_better)
        lower = lower or (name in measures and measures[name].higher_is_better is False)
        cfg.optimized_mode = "min" if lower else "max"


def _watched(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Entries of callbacks and loggers that name a measure, and these."""
    entries = {f"{group}.{name}": entry for group in COLLECTED for name, entry in cfg[group].items()}
    found = {place: entry for place, entry in entries.items() if isinstance(entry, DictConfig)}
    # a callback of one's own may log measures of its own
    if all(str(entry.get("_target_")).startswith(("cvae.", "lightning.")) for entry in found.values()):
        for place, entry in found.items():
            yield from ((f"{place}.{key}", entry.get(key)) for key in ("monitor", "headline"))
            measures = entry.get("measures")
            yield from ((f"{place}.measures", one) for one in (measures if isinstance(measures, ListConfig) else ()))


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
