import collections

import hydra.utils
import numpy as np
import pytest
import torch

from cvae.models.checkpoints import (
    ALLOWED_TARGETS,
    FORMAT,
    KEY,
    CheckpointError,
    check_config,
    read_checkpoint,
    read_content,
)

GOOD = {
    "model": {"_target_": "cvae.networks.dense", "hidden": [8, 8], "head": {"_target_": "cvae.networks.ValuesHead"}},
    "loss": {"_target_": "cvae.losses.Objective", "beta": 0.1, "warm": None, "on": True},
}


def save(path, config=GOOD, **changes):
    content = {KEY: {"format": FORMAT, "config": config}, "state_dict": {"weight": torch.arange(3.0)}}
    content |= changes
    torch.save(content, path)
    return path


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_config_and_weights_come_back(tmp_path):
    config, weights = read_checkpoint(save(tmp_path / "a.ckpt"))
    assert config == GOOD
    assert torch.equal(weights["weight"], torch.arange(3.0))


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.ckpt: no such checkpoint"):
        read_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("damage", [lambda good: good[: len(good) // 2], lambda good: b"", lambda good: b"text" * 99])
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    path = save(tmp_path / "a.ckpt")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"a\.ckpt: cannot be loaded safely"):
        read_checkpoint(path)


@pytest.mark.parametrize("where", ["config", "state_dict", "callbacks"])
def test_a_pickled_object_is_refused_and_not_run(tmp_path, where):
    bad = {"inner": Malicious(tmp_path / "ran")}
    path = save(tmp_path / "a.ckpt", config=bad) if where == "config" else save(tmp_path / "a.ckpt", **{where: bad})
    with pytest.raises(CheckpointError, match=r"a\.ckpt: cannot be loaded safely"):
        read_checkpoint(path, allow=["builtins.open", "_io.open"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({KEY: None}, "is no checkpoint of this project .it lacks the entry 'cvae'"),
        ({KEY: [1]}, "is no checkpoint of this project"),
        ({"state_dict": None}, "is no checkpoint of this project"),
        ({KEY: {"format": FORMAT + 1, "config": GOOD}}, f"has format {FORMAT + 1}; this version reads format {FORMAT}"),
        (
            {KEY: {"format": 2, "config": GOOD}},
            "has format 2; this version reads format 3. Read it with the version that wrote it, or train anew",
        ),
        ({KEY: {"config": GOOD}}, "has format None"),
        ({KEY: {"format": FORMAT}}, "holds no config"),
        ({KEY: {"format": FORMAT, "config": [1]}}, "holds no config"),
        (
            {KEY: {"format": FORMAT, "config": GOOD | {"deep": {}}}},
            "its config has the entry 'deep', which no model has",
        ),
        ({KEY: {"format": FORMAT, "config": GOOD | {5: {}}}}, "its config has the entry '5', which no model has"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, changes, message):
    with pytest.raises(CheckpointError, match=rf"a\.ckpt: {message}"):
        read_checkpoint(save(tmp_path / "a.ckpt", **changes))


def test_a_file_that_holds_no_dict_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="is no checkpoint of this project"):
        read_checkpoint(tmp_path / "a.ckpt")


# where a foreign value may hide
PLACES = [
    lambda bad: {"model": bad},
    lambda bad: {"model": {"head": [1, {"deep": (bad,)}]}},
    lambda bad: [[bad]],
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "cvae.models.checkpoints.Path",
        "cvae.networks.torch.load",
        "cvae.networks.dense.__globals__",
        "cvae.networks",
        "cvae.tasks.CallableForward",
        "cvae.tasks.forward_from_config",
        " cvae.networks.dense",
        "",
        None,
        3,
        ["cvae.networks.dense"],
    ],
)
def test_a_target_outside_the_allow_list_is_refused(place, target):
    with pytest.raises(
        CheckpointError, match=r"asks for .*, which is not on the allow-list\. If you trust it, name it"
    ):
        check_config(place({"_target_": target}))


@pytest.mark.parametrize("name", sorted(ALLOWED_TARGETS))
def test_the_allow_list_names_what_there_is(name):
    assert callable(hydra.utils.get_object(name))


def test_a_target_that_is_allowed_passes(tmp_path):
    config = {"task": {"forward": {"_target_": "my_package.lens"}}}
    path = save(tmp_path / "a.ckpt", config)
    with pytest.raises(CheckpointError, match=r"CVAE\.load\(path, allow=\[\"my_package\.lens\"\]\)"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"asks for 'my_package\.lens'"):
        read_checkpoint(path, allow=["my_package"])
    assert read_checkpoint(path, allow=["my_package.lens"])[0] == config


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "a ${b} c", "\\${a}", "$${a}"])
@pytest.mark.parametrize("place", [*PLACES, lambda bad: {bad: 1}])
def test_an_interpolation_is_refused(place, text):
    with pytest.raises(CheckpointError, match=r"holds the interpolation .*; a checkpoint may hold plain values only"):
        check_config(place(text))


@pytest.mark.parametrize("place", [*PLACES, lambda bad: {bad: 1}])
@pytest.mark.parametrize(
    ("value", "name"), [(torch.tensor(0), "Tensor"), (1j, "complex"), (b"a", "bytes"), (torch.float32, "dtype")]
)
def test_anything_but_plain_values_is_refused(place, value, name):
    with pytest.raises(CheckpointError, match=f"holds a {name}; a checkpoint may hold plain values only"):
        check_config(place(value))


def test_a_small_file_that_unfolds_without_end_is_refused():
    config = []
    for _ in range(60):
        config = [config, config]
    with pytest.raises(CheckpointError, match="has more than 100,000 entries"):
        check_config(config)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("read", [read_checkpoint, read_content])
def test_weights_that_are_not_finite_are_refused(tmp_path, read, value):
    path = save(
        tmp_path / "a.ckpt", state_dict={"good": torch.ones(2), "bad": torch.tensor([0.0, value], dtype=torch.float64)}
    )
    with pytest.raises(CheckpointError, match=r"a\.ckpt: its weights are not finite, those of bad first"):
        read(path)


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(2, dtype=torch.complex64), torch.ones(2).to_sparse(), torch.empty(2, device="meta"),
        torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8), torch.ones(1).expand(10**12),
    ],
)  # fmt: skip
def test_weights_of_another_kind_are_refused(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"a\.ckpt: cannot be loaded safely"):
        read_checkpoint(save(tmp_path / "a.ckpt", state_dict={"weight": value}))


def test_numpy_scalars_are_no_plain_values():
    with pytest.raises(CheckpointError, match="holds a float32"):
        check_config({"beta": np.float32(1)})


def test_a_config_that_contains_itself_is_refused(tmp_path):
    config = {"model": []}
    config["model"].append(config["model"])
    with pytest.raises(CheckpointError, match=r"a\.ckpt: its config is nested too deeply"):
        read_checkpoint(save(tmp_path / "a.ckpt", config))


@pytest.mark.parametrize("config", [GOOD, {}, collections.OrderedDict(GOOD), {"a": (1, "b", None)}])
def test_plain_configs_pass(config):
    check_config(config)
