"""Options of a config that are refused before anything is built of them."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NotRequired, Protocol, TypedDict, Unpack

import pytest
import torch
from omegaconf import DictConfig

from cvae.config import plain
from cvae.errors import UserError
from cvae.runs import options
from cvae.runs.options import check_entries, check_options
from cvae.runs.settle import settle

if TYPE_CHECKING:
    from nowhere import Unknown

Shipped = Callable[..., DictConfig]


class Head:
    def __init__(self, width: int = 1) -> None: ...


class Source(Protocol):
    @property
    def size(self) -> int: ...

    def load(self) -> None: ...


class Loader:
    def __init__(self) -> None:
        self.size = 3

    def load(self) -> None: ...


class Gates(TypedDict):
    pearson: float
    rmse: NotRequired[float]


class Shared(TypedDict, total=False):
    beta: float
    draws: int


@dataclass
class Evaluation:
    draws: int
    points: Literal["random", "sobol"] = "sobol"
    temperature: float | None = None


class Splits(NamedTuple):
    train: int
    test: int = 1


class Base:
    def __init__(self, width: int, name: str = "base") -> None: ...


class Inherited(Base):
    pass


class Unpacked(Base):
    def __init__(self, width: int, **shared: Unpack[Shared]) -> None: ...


class Gated:
    def __init__(self, **gates: Unpack[Gates]) -> None: ...


def network(latent_dim: int, hidden: Sequence[int], head: Head | None = None, sees_y: bool = True) -> None: ...


def loaded(source: Source) -> None: ...


def unchecked(unknown: Unknown, width: int = 1) -> None: ...


def anything(**others: Any) -> None: ...


def typed(
    whole: int = 0,
    number: float = 0,
    flag: bool = False,
    text: str = "",
    path: Path = Path(),
    choice: Literal["a", "b", 3] = "a",
    optional: float | None = None,
    old_optional: int = None,  # type: ignore[assignment]  # noqa: RUF013
    pair: tuple[float, float] = (0, 0),
    wholes: tuple[int, ...] = (),
    names: frozenset[str] = frozenset(),
    nested: Sequence[list[int] | str] = (),
    choices: Sequence[Literal["a", "b"]] = (),
    counts: Mapping[str, int] | None = None,
    mapping: Mapping[str, Any] | None = None,
    tensor: float | torch.Tensor = 0,
    source: Source | Sequence[str] = (),
    head: Head = ...,  # type: ignore[assignment]
    gates: Gates | None = None,
) -> None: ...


def target(name: Callable[..., Any], **entries: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.{name.__qualname__}", **entries}


def refusal(config: Mapping[str, Any], where: str = "model") -> str:
    with pytest.raises(UserError) as error:
        check_options(config, where)
    return str(error.value)


def settings(cfg: DictConfig) -> dict[str, Any]:
    settled = settle(cfg)
    settled.run_dir = "."
    config: dict[str, Any] = plain(settled)
    return config


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model=dense", "optimizer=sgd", "scheduler=one_cycle"],
        ["model=deep", "loss=huber", "optimizer=rmsprop"],
        ["model=mixture", "optimizer=adam", "trainer=ddp"],
        ["model=starter", "debug=profiler"],
        ["experiment=starter", "trainer=ddp_cpu"],
        ["trainer=gpu", "trainer.precision=bf16-mixed", "debug=fast_dev_run"],
        ["+trainer.limit_val_batches=0.5", "+trainer.max_time=00:01:00:00"],
        ["optimizer=adamw", "+optimizer.betas=[0.9, 0.99]"],
    ],
)
def test_shipped_configs_pass(shipped: Shipped, overrides: list[str]) -> None:
    check_options(settings(shipped(*overrides, small=())))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=null", "optimizer.lr is None; it must be a number."),
        ("optimizer.lr=nan", "optimizer.lr is nan; it must be a number."),
        ("+optimizer.foo=1", "optimizer.foo is no option of cvae.optimizers.MuonAdamW; it has: params, lr, matrix_lr"),
        ("trainer.devices=null",
         "trainer.devices is None; it must be text or a whole number or a list of whole numbers."),
        ("trainer.max_epochs=abc", "trainer.max_epochs is 'abc'; it must be a whole number or null."),
        ("trainer.precision='31'", "trainer.precision is '31'; it must be one of 64, 32, 16, transformer-engine,"),
        ("+trainer.limit_val_batches=abc", "trainer.limit_val_batches is 'abc'; it must be a number or null."),
        ("+trainer.deterministic=warm", "trainer.deterministic is 'warm'; it must be warn or true or false or null."),
        ("callbacks.last.dirpath=3", "callbacks.last.dirpath is 3; it must be text or null."),
        ("+callbacks.last.filname=a",
         "callbacks.last.filname is no option of lightning.pytorch.callbacks.ModelCheckpoint "
         "(did you mean filename?); it has: dirpath, filename"),
        ("logger.csv.name=[a]", "logger.csv.name is ['a']; it must be text or null."),
        ("data.source.train=1.5", "data.source.train is 1.5; it must be a whole number."),
        ("data.gates.rmse=a", "data.gates.rmse is 'a'; it must be a number."),
        ("~loss.beta", "loss.beta must be set: cvae.losses.Objective has no default for it."),
    ],
)  # fmt: skip
def test_wrong_options_of_the_shipped_config_are_named(shipped: Shipped, override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        settle(shipped(override))
    assert str(error.value).startswith(message)


def test_wrong_option_of_a_profiler_is_named(shipped: Shipped) -> None:
    with pytest.raises(UserError, match=r"trainer\.profiler\.extended is 1; it must be true or false\."):
        settle(shipped("debug=profiler", "+trainer.profiler.extended=1"))


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("whole", [1.0, True, "1", None, float("nan"), float("inf")], "a whole number"),
        ("number", [True, "1", None, float("nan"), float("inf")], "a number"),
        ("flag", [1, "true", None], "true or false"),
        ("text", [1, None, ["a"]], "text"),
        ("path", [1, None], "text"),
        ("choice", ["c", 4, None, "3"], "one of a, b, 3"),
        ("optional", ["a"], "a number or null"),
        ("old_optional", ["a"], "a whole number"),
        ("pair", [[1], [1, 2, 3], 1, ["a", 1]], "a list of 2 numbers"),
        ("wholes", [[1, "a"], 1, [True]], "a list of whole numbers"),
        ("names", ["abc", [1]], "a list of texts"),
        ("nested", [[1], [["a"]]], "a list of texts or lists of whole numbers"),
        ("choices", [["c"], "a"], "a list of values out of a, b"),
        ("counts", [[1]], "a mapping of names to whole numbers or null"),
        ("mapping", [1, "a"], "a mapping or null"),
        ("tensor", ["a", None], "a number"),
        ("source", [1, "a"], "a list of texts"),
        ("head", [None], "a mapping with _target_"),
        ("gates", [1], "a mapping or null"),
    ],
)
def test_values_of_another_type_are_refused_in_plain_words(name: str, values: list[Any], what: str) -> None:
    for value in values:
        assert refusal(target(typed, **{name: value})) == f"model.{name} is {value!r}; it must be {what}."


@pytest.mark.parametrize(
    "entries",
    [
        {"whole": -1, "number": 1, "flag": True, "text": "1", "path": "a/b", "choice": 3, "optional": None},
        {
            "old_optional": None,
            "pair": [1, 2.5],
            "wholes": [1, 2],
            "names": ["a"],
            "nested": [[1], "a"],
            "choices": ["a"],
        },
        {
            "counts": {"a": 1},
            "mapping": {"a": [float("nan")]},
            "tensor": 0.1,
            "source": ["x0"],
            "gates": {"pearson": 1},
        },
    ],
)
def test_values_of_plain_data_are_taken_for_what_they_stand_for(entries: dict[str, Any]) -> None:
    check_options(target(typed, **entries))


def test_plain_data_for_an_arbitrary_class_are_left_to_the_constructor() -> None:
    check_options(target(typed, head="cpu"))


def test_wrong_member_of_a_mapping_is_named() -> None:
    assert refusal(target(typed, counts={"a": 1, "b": 1.5})) == "model.counts.b is 1.5; it must be a whole number."


def test_class_without_the_methods_of_a_protocol_is_refused() -> None:
    message = refusal(target(loaded, source={"_target_": "builtins.dict"}))
    assert message == "model.source._target_ is builtins.dict, which makes no Source."
    check_options(target(loaded, source=target(Loader)))


@pytest.mark.parametrize("hidden", [[0, "a"], None])
def test_list_with_a_wrong_value_is_shown(hidden: object) -> None:
    message = refusal(target(network, latent_dim=1, hidden=hidden))
    assert message == f"model.hidden is {hidden!r}; it must be a list of whole numbers."


def test_unknown_option_is_told_with_a_near_name() -> None:
    assert refusal(target(network, latent_dims=1)) == (
        f"model.latent_dims is no option of {__name__}.network (did you mean latent_dim?); "
        "it has: latent_dim, hidden, head, sees_y."
    )


def test_missing_options_are_told_unless_they_come_later() -> None:
    config = target(network)
    assert refusal(config).startswith("model.latent_dim, model.hidden must be set: ")
    check_options(config | {"_partial_": True})
    check_options(config | {"_args_": [1, [2]]})
    check_options({"forward": {"_recursive_": False, **target(anything, f=config)}})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cvae.networks.dence", "No module named 'cvae.networks.dence'"),
        ("nowhere.f", "No module named 'nowhere'"),
        ("math.pi", "Located non-callable"),
    ],
)
def test_target_that_cannot_be_imported_is_told_once(name: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        message = refusal({"_target_": name}, "")
    assert message.startswith(f"_target_ is {name!r}, which cannot be imported: {reason}")
    assert not caplog.records


def test_nested_targets_are_checked_where_they_stand() -> None:
    head = target(Head, wide=1)
    good = target(network, latent_dim=1, hidden=[1], head=target(Head))
    check_options(good)
    assert refusal(good | {"head": head}).startswith("model.head.wide is no option of")
    assert refusal({"heads": [good, good | {"head": head}]}, "").startswith("heads[1].head.wide is no option of")
    assert refusal(target(anything, x={"deep": [head]})).startswith("model.x.deep[0].wide is no option of")


@pytest.mark.parametrize("kind", [Base, Inherited, Unpacked])
def test_classes_are_checked_by_their_constructor(kind: type) -> None:
    check_options(target(kind, width=1))
    assert refusal(target(kind, width="a")) == "model.width is 'a'; it must be a whole number."
    assert refusal(target(kind)).startswith("model.width must be set")


def test_unpacked_typed_dict_contributes_its_keys() -> None:
    check_options(target(Unpacked, width=1, beta=0.5, draws=3))
    assert refusal(target(Unpacked, width=1, draws=0.5)) == "model.draws is 0.5; it must be a whole number."
    assert "(did you mean beta?); it has: width, beta, draws." in refusal(target(Unpacked, width=1, betas=1))
    check_options(target(Gated, pearson=1))
    assert refusal(target(Gated, rmse=1)).startswith("model.pearson must be set")


def test_value_of_a_typed_dict_is_checked_by_its_keys() -> None:
    assert refusal(target(typed, gates={"pearson": "a"})) == "model.gates.pearson is 'a'; it must be a number."
    assert "model.gates.rsme is no option of" in refusal(target(typed, gates={"pearson": 1, "rsme": 1}))


def test_tuples_with_names_are_checked_as_classes() -> None:
    assert refusal(target(Splits, train="a")) == "model.train is 'a'; it must be a whole number."


def test_annotations_for_type_checkers_only_leave_the_others_to_check() -> None:
    check_options(target(unchecked, unknown=1, width=3))
    assert refusal(target(unchecked, unknown=1, width="a")) == "model.width is 'a'; it must be a whole number."
    assert "(did you mean width?)" in refusal(target(unchecked, unknown=1, widht=1))


def test_builtin_without_a_signature_takes_anything() -> None:
    check_options({"_target_": "builtins.dict", "a": 1})


def test_entries_are_checked_as_arguments_of_a_reference() -> None:
    check_entries({"draws": 3, "temperature": 1}, Evaluation, "evaluation")
    for values, message in [
        ({"draws": 3, "points": "grid"}, "evaluation.points is 'grid'; it must be one of random, sobol."),
        ({}, "evaluation.draws must be set"),
        ({"draw": 3}, "evaluation.draw is no option of"),
    ]:
        with pytest.raises(UserError, match=message):
            check_entries(values, Evaluation, "evaluation")


def test_entries_at_the_top_are_checked_with_what_is_nested() -> None:
    check_entries({"hidden": [1]}, network, "", partial=True)
    with pytest.raises(UserError, match=r"^head.wide is no option of"):
        check_entries({"head": target(Head, wide=1)}, network, "", partial=True)


def test_check_of_a_training_config_is_quick(shipped: Shipped) -> None:
    config = settings(shipped())
    check_options(config)  # imports what the targets name
    for cached in (options._options, options._adapter):
        assert isinstance(cached, functools._lru_cache_wrapper)
        cached.cache_clear()
    started = time.process_time()
    check_options(config)
    assert time.process_time() - started < 0.05
