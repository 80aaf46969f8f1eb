"""Numbers of a config are checked before anything is built of them."""

from __future__ import annotations

from typing import Any

import pytest

from cvae.checks import NUMBERS, check_numbers

SHIPPED = [[], ["data=two_birds"], ["model=mixture", "data=two_birds"], ["loss=huber", "optimizer=sgd"],
           ["scheduler=one_cycle", "generation=complete"], ["experiment=starter"], ["debug=profiler"]]  # fmt: skip


@pytest.mark.parametrize("overrides", SHIPPED)
def test_the_shipped_config_passes(shipped: Any, overrides: list[str]) -> None:
    check_numbers(shipped(*overrides, small=[]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=abc", "seed is 'abc'; it must be a whole number of at least 0."),
        ("seed=-1", "seed is -1; it must be a whole number of at least 0."),
        ("seed=4294967296", "seed is 4294967296; it must be a whole number from 0 to 4294967295."),
        ("seed=null", "seed is None; it must be a whole number from 0 to 4294967295."),
        ("optimizer.lr=abc", "optimizer.lr is 'abc'; it must be a number above 0."),
        ("optimizer.lr=0", "optimizer.lr is 0; it must be a number above 0."),
        ("optimizer.lr=nan", "optimizer.lr is nan; it must be a number above 0."),
        ("optimizer.lr=true", "optimizer.lr is True; it must be a number above 0."),
        ("trainer.max_epochs=two", "trainer.max_epochs is 'two'; it must be a whole number of at least -1."),
        ("trainer.max_epochs=1.5", "trainer.max_epochs is 1.5; it must be a whole number of at least -1."),
        ("data.source.train=1e3", "data.source.train is 1000.0; it must be a whole number."),
        ("data.batch_size=many", "data.batch_size is 'many'; it must be a whole number of at least 1."),
        ("loss.beta=small", "loss.beta is 'small'; it must be a number of at least 0."),
        ("generation.count=all", "generation.count is 'all'; it must be a whole number."),
    ],
)
def test_what_is_no_such_number_is_named(shipped: Any, override: str, message: str) -> None:
    with pytest.raises(ValueError, match="it must be") as caught:
        check_numbers(shipped(override))
    assert str(caught.value) == message


def test_the_files_of_a_file_source_are_no_numbers(shipped: Any) -> None:
    check_numbers(shipped("data=lines_file", "data.source.train=my.pt", "data.forward=['x0']", small=[]))


def test_every_entry_that_is_checked_exists_somewhere(shipped: Any) -> None:
    from omegaconf import OmegaConf

    composed = [shipped(*overrides, small=[]) for overrides in SHIPPED]
    composed.append(shipped("data=lines_file", "data.forward=['x0']", "model=dense", small=[]))
    optional = {"trainer.max_steps", "trainer.check_val_every_n_epoch", "trainer.num_nodes"}
    for name in set(NUMBERS) - optional:
        parent, _, last = name.rpartition(".")
        nodes = [OmegaConf.select(cfg, parent) if parent else cfg for cfg in composed]
        assert any(node is not None and last in node for node in nodes), name
