"""What the checkpoint of a training must hold, so that the training goes on as if it had not been interrupted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.trainer.states import RunningStage, TrainerFn
from packaging.version import Version
from torch import Tensor, nn

from cvae.errors import UserError
from cvae.models import Generative
from cvae.models.checkpoints import CheckpointError, check_fit, check_head
from cvae.runs.continuation import KEY, confined

#: what no result depends on of an optimizer's options, and the rate that the schedule has come to
UNCOMPARED = {"params", "lr", "initial_lr", "fused", "foreach", "capturable", "differentiable"}
#: entries that are named where some are wrong
SHOWN = 6
#: the loops of a trainer, whose progress is taken up entry by entry; they need no trainer to tell their entries
_LOOPS: dict[str, Any] = {
    "fit_loop": _FitLoop(None),  # type: ignore[arg-type]
    "validate_loop": _EvaluationLoop(None, TrainerFn.VALIDATING, RunningStage.VALIDATING),  # type: ignore[arg-type]
    "test_loop": _EvaluationLoop(None, TrainerFn.TESTING, RunningStage.TESTING),  # type: ignore[arg-type]
}
#: what a training needs to go on, see :func:`_unlike`
RESUMED: dict[str, Any] = {
    KEY: {"measures": dict, "fit_s": float, "resumed": list, "loggers": dict, "ended": bool},
    "epoch": int,
    "global_step": int,
    "loops": {name: loop.state_dict() for name, loop in _LOOPS.items()},
    "optimizer_states": [{"state": dict, "param_groups": list}],
    "lr_schedulers": list,
    "callbacks": dict,
    "pytorch-lightning_version": str,
}


@dataclass(frozen=True)
class Expected:
    """What the checkpoints of a run fit.

    Attributes:
        run: its identity (:func:`cvae.runs.folder.identify`).
        model: not trained, with its optimizer.
        callbacks: as they are before the training.
        epochs: that it has at most; None or -1 for no limit.
    """

    run: str
    model: Generative
    callbacks: Sequence[Callback] = ()
    epochs: int | None = None


def check_own(path: Path, content: Mapping[str, Any], expected: Expected) -> None:
    """Check that a run can go on from one of its own checkpoints.

    Raises:
        CheckpointError: for one that is incomplete or contradicts itself.
        UserError: for one of another run.
    """
    check_fit(path, content["state_dict"], expected.model)
    with _consistent(path):
        _compare(path, content, RESUMED | {KEY: RESUMED[KEY] | {"run": str}})
        if content[KEY]["run"] != expected.run:
            raise UserError(
                f"{path}: is a checkpoint of another run than the one whose folder it lies in. Move it away, or choose "
                "another folder with hydra.run.dir=..."
            )
        _check_training(path, content, expected.model)
        differ = _differing_options(content, expected.model)
        if differ:
            raise CheckpointError(f"{path}: has another optimizer than its run: {'; '.join(differ)}.")
        if expected.epochs is not None and 0 <= expected.epochs <= content["epoch"]:
            raise CheckpointError(f"{path}: is of epoch {content['epoch'] + 1}, but its run has {expected.epochs}.")
        states = {callback.state_key: callback.state_dict() for callback in expected.callbacks}
        _compare(path, content, {"callbacks": {name: state for name, state in states.items() if state}})
        for callback in expected.callbacks:
            if isinstance(callback, ModelCheckpoint):
                _check_kept(path, content["callbacks"][callback.state_key], callback)


def _check_kept(path: Path, state: Mapping[str, Any], callback: ModelCheckpoint) -> None:
    """Check what a checkpoint says of those that are kept."""
    state = confined(state, path.parent.resolve())
    kept = state["best_k_models"]
    _compare(path, state, {"measures": dict.fromkeys(state["measures"], float)} if "measures" in state else {})
    scores = [*kept.values(), state["kth_value"], state["best_model_score"], state["current_score"]]
    single = all(score is None or (isinstance(score, Tensor) and score.numel() == 1) for score in scores)
    # Lightning compares with the worst of those that are kept when they are as many as they may be
    full = callback.monitor is not None and 0 < callback.save_top_k <= len(kept)
    if not single or (full and state["kth_best_model_path"] not in kept):
        raise CheckpointError(f"{path}: what it says of the checkpoints to keep is damaged.")


def check_continuable(
    path: str | Path, content: Mapping[str, Any], model: Generative, trainer: Mapping[str, Any]
) -> None:
    """Check that a training of ``model`` can go on from the checkpoint of another run.

    Args:
        path: of the checkpoint.
        content: what it holds.
        model: with its optimizer, not trained yet.
        trainer: how far it shall be trained, ``max_epochs`` and ``max_steps``.

    Raises:
        UserError: for weights of another model, missing entries, another optimizer, or nothing that is left to do.
    """
    check_fit(path, content["state_dict"], model)
    check_head(path, content, model.network)
    with _consistent(path):
        _compare(path, content, RESUMED)
        for name, done in (("epochs", content["epoch"] + 1), ("steps", content["global_step"])):
            most = trainer.get(f"max_{name}", -1)
            if most is not None and 0 <= most <= done:
                raise UserError(f"trainer.max_{name} is {most}, but {path} has {done} {name} already; set it higher.")
        differ = _differing_options(content, model)
        if differ:
            raise UserError(
                f"optimizer: {path} goes on with its own one, which differs: {'; '.join(differ)}. Set it as it was, or "
                f"begin anew with these weights, init_from={path}."
            )
        _check_training(path, content, model)


def _check_training(path: str | Path, content: Mapping[str, Any], model: Generative) -> None:
    """Check the states of optimizer and schedule, and how far they and the loops are."""
    assert model.training_parts is not None
    state = content["optimizer_states"][0]
    own = content[KEY]
    optimizer = _optimizer_state(model, content)
    rates = [float] * len(optimizer["param_groups"])
    schedule = {"base_lrs": rates, "last_epoch": int, "_step_count": int, "_last_lr": rates, "lr_lambdas": list}
    wanted: dict[str, Any] = {
        "optimizer_states": [optimizer],
        "lr_schedulers": [schedule] * (model.training_parts.schedule is not None),
        KEY: {
            "measures": dict.fromkeys(own["measures"], float),
            "resumed": [int] * len(own["resumed"]),
            "loggers": dict.fromkeys(own["loggers"], str),
        },
    }
    _compare(path, content, wanted)
    for name, part in {**content, KEY: own["fit_s"]}.items():
        # a measure may have no number
        if name in wanted and not _is_finite(part):
            raise CheckpointError(f"{path}: {name} in it is not finite, as of a training that diverged.")
    epochs = content["loops"]["fit_loop"]["epoch_progress"]["current"]
    steps = content["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
    now = [group["lr"] for group in state["param_groups"]]
    pairs: dict[str, tuple[Any, Any]] = {
        "epoch": (content["epoch"], epochs["completed"]),
        # it is completed or goes on
        "epoch_progress": ({*epochs.values()} - {content["epoch"], content["epoch"] + 1}, set()),
        "global_step": (content["global_step"], steps["total"]["completed"]),
    }
    for schedule in content["lr_schedulers"]:
        pairs |= {
            "last_epoch": (schedule["last_epoch"], content["global_step"]),
            "base_lrs": (schedule["base_lrs"], [group["initial_lr"] for group in state["param_groups"]]),
            "_last_lr": (schedule["_last_lr"], now),
            # those of functions are not kept
            "lr_lambdas": (schedule["lr_lambdas"], [None] * len(rates)),
        }
    wrong = [name for name, (one, other) in pairs.items() if one != other]
    wrong += [name for name in ("epoch", "global_step") if content[name] < 0]
    wrong += ["lr"] * (min(now) < 0)
    # Lightning would rewrite one of an earlier version first
    wrong += ["pytorch-lightning_version"] * (Version(content["pytorch-lightning_version"]) < Version("2"))
    if wrong:
        raise CheckpointError(f"{path}: its entries contradict each other, {wrong[0]} first.")


def _optimizer_state(model: Generative, content: Mapping[str, Any]) -> dict[str, Any]:
    """What the optimizer of ``model`` keeps after a step; without what it keeps of parameters that were never changed,
    where the checkpoint has none of it either: they have no gradient."""
    names = {
        nn.Parameter(value.detach().clone(), value.requires_grad): name for name, value in model.named_parameters()
    }
    optimizer = _optimizer(model, list(names))
    for parameter in names:
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step(lambda: 0.0)
    found = optimizer.state_dict()
    own = dict(model.named_parameters())
    for number, parameter in enumerate(one for group in optimizer.param_groups for one in group["params"]):
        there = content["state_dict"][names[parameter]]
        if number not in content["optimizer_states"][0]["state"] and torch.equal(own[names[parameter]], there):
            found["state"].pop(number, None)
    groups = [{"params": group["params"], "lr": float} for group in found["param_groups"]]
    return {"state": found["state"], "param_groups": groups}


def _optimizer(model: Generative, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    assert model.training_parts is not None
    return model.training_parts.optimizer(parameters)


def _differing_options(content: Mapping[str, Any], model: Generative) -> list[str]:
    """In which options the optimizer of a checkpoint differs from that of ``model``, in words."""
    groups = content["optimizer_states"][0]["param_groups"]
    own = _optimizer(model, list(model.parameters())).param_groups
    told: dict[str, None] = {}
    for there, here in ((_options(one), _options(other)) for one, other in zip(groups, own, strict=False)):
        for name in here | there:
            if here.get(name) != there.get(name):
                told[f"{name} is {there.get(name, 'not set')} there and {here.get(name, 'not set')} here"] = None
    if len(groups) != len(own):
        told[f"it has {len(groups)} groups of parameters there and {len(own)} here"] = None
    return list(told)


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a result of the options of an optimizer; ``lr`` is the one that its schedule began with."""
    options = {name: value for name, value in group.items() if name not in UNCOMPARED}
    return {"lr": group.get("initial_lr", group["lr"])} | options


@contextmanager
def _consistent(path: str | Path) -> Iterator[None]:
    """Tell what does not fit together in a checkpoint, whatever error it is met as, by one kind of error."""
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: its entries do not fit together ({type(error).__name__}); name another checkpoint."
        ) from error


def _compare(path: str | Path, content: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    wrong = list(_unlike(content, wanted))
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise CheckpointError(
            f"{path}: lacks {', '.join(wrong[:SHOWN])}{more}, or holds something else there than a training does."
        )


def _unlike(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """Names of the entries in which nested data are not like others: of the same kind, shape or, of lists, length, and
    with the same keys at least. A type stands for any of its objects, None for anything."""
    kind = wanted if isinstance(wanted, type) else type(wanted)
    alike = wanted is None or isinstance(found, kind) or (kind is float and type(found) is int)
    if kind is int and isinstance(found, bool):
        alike = False
    if isinstance(wanted, Tensor):
        alike = alike and found.shape == wanted.shape
    if isinstance(wanted, list):
        alike = alike and len(found) == len(wanted)
    if not alike:
        yield name
    elif isinstance(wanted, Mapping):
        for key, value in wanted.items():
            where = f"{name}.{key}" if name else str(key)
            if key in found:
                yield from _unlike(found[key], value, where)
            else:
                yield where
    elif isinstance(wanted, list):
        for one, value in zip(found, wanted, strict=True):
            yield from _unlike(one, value, name)


def _is_finite(content: Any) -> bool:
    """Whether all numbers in nested data are finite."""
    if isinstance(content, Tensor):
        return bool(content.isfinite().all())
    if isinstance(content, Mapping):
        return all(_is_finite(value) for value in content.values())
    if isinstance(content, list | tuple):
        return all(_is_finite(value) for value in content)
    return not isinstance(content, float) or math.isfinite(content)
