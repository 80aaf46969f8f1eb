"""Wrong values for every entry of the shipped configs, and what becomes of each."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from cvae.config import plain
from cvae.errors import user_message
from cvae.runs import options
from cvae.runs.checks import without_folder
from cvae.runs.compose import compose
from cvae.runs.loggers import build_loggers, check_loggers
from cvae.runs.settle import settle
from cvae.runs.train import build, build_callbacks, build_trainer, generation_plan
from tests.conftest import ROOT

#: overrides of the configs whose entries are tried
BASES: tuple[tuple[str, ...], ...] = (
    (),
    ("data=two_birds",),
    ("data=vector_file", f"data.source.train={ROOT}/examples/pairs.npz", "data.bounds=[[-2,2],[-2,2]]",
     "data.forward=['x0**2 + x1**2','x0*x1']"),
    ("experiment=swiss_roll",),
    ("experiment=digits",),
)  # fmt: skip
VALUES = ("null", "abc", "-1", "0", "1.5", "[]", "{}", "true", "inf", "nan", "'${nope}'")
#: what imports, and is nothing that a run is made of
#: what a run or the project fills in
DECIDED_ELSEWHERE = ("choices", "run_dir", "columns")
TARGETS = ("builtins.dict", "torch.nn.Linear", "nowhere.f")


def cases() -> list[tuple[str, ...]]:
    """Overrides, the last of which gives an entry a value that most entries cannot have. Entries that several configs
    share with their values come once."""
    seen, found = set(), []
    for overrides in BASES:
        for entry, value in _entries(_composed(overrides)):
            if (entry, str(value)) not in seen:
                seen.add((entry, str(value)))
                values = TARGETS * entry.endswith("._target_") + VALUES
                found += [(*overrides, f"{entry}={value}") for value in values]
    return found


def outcome(case: Sequence[str], folder: Path) -> tuple[str, str]:
    """What becomes of a case before its training would begin: ``refused`` or ``traceback`` with the message,
    ``unnamed`` for a message that does not name the entry, or ``accepted``.

    Args:
        case: one of :func:`cases`.
        folder: the run's.
    """
    name = case[-1].lstrip("+").partition("=")[0]
    try:
        cfg = settle(changed(case))
        generation_plan(cfg)
        build(cfg)
        callbacks = build_callbacks(cfg, folder)
        check_loggers(cfg.logger)
        cfg.run_dir = str(folder)
        build_trainer(cfg, folder, callbacks, build_loggers(cfg.logger.values(), None))
    except Exception as error:
        message = user_message(error)
        if message is None:
            return "traceback", f"{type(error).__name__}: {error}"
        named = all(part in message for part in name.removesuffix("._target_").split("."))
        return "refused" if named else "unnamed", message
    return "accepted", ""


@functools.cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    return compose("train", overrides)


def changed(case: Sequence[str]) -> DictConfig:
    """The composed config; that of all overrides but the last is composed once."""
    *overrides, last = case
    cfg = _composed(tuple(overrides)).copy()
    name, _, value = last.lstrip("+").partition("=")
    OmegaConf.set_struct(cfg, False)
    # as Hydra does it
    OmegaConf.update(cfg, name, OverridesParser.create().parse_override(f"+{name}={value}").value(), force_add=True)
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
