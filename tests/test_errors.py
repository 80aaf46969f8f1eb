"""Which errors are the user's."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from cvae.data.layout import load_plain
from cvae.errors import DiskError, clear_disk_errors, user_message
from cvae.problems.problem import Gates


def test_a_failed_check_of_the_package_is_the_users() -> None:
    with pytest.raises(ValueError, match="must be positive") as caught:
        Gates(pearson=0.9, rmse=0.0)
    assert user_message(caught.value) == "data.gates.rmse is 0.0; it must be positive."


def test_a_missing_file_is_the_users(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_plain(tmp_path / "none.pt")
    assert user_message(caught.value) == f"{tmp_path / 'none.pt'}: no such file."


def test_the_message_is_found_under_what_hydra_wraps_around_it() -> None:
    with pytest.raises(InstantiationException) as caught:
        instantiate({"gates": {"_target_": "cvae.problems.problem.Gates", "pearson": 2, "rmse": 1}})
    assert user_message(caught.value) == "data.gates.pearson is 2; it must be in [-1, 1)."


def test_a_configuration_that_lightning_refuses_is_the_users() -> None:
    with pytest.raises(MisconfigurationException) as caught:
        Trainer(max_epochs=-2)
    assert "max_epochs" in str(user_message(caught.value))


def _call_torch_wrongly() -> Any:
    return torch.distributions.Normal(torch.zeros(1), -torch.ones(1))


def test_an_error_from_a_library_is_a_bug() -> None:
    with pytest.raises(ValueError, match="constraint") as caught:
        _call_torch_wrongly()
    assert user_message(caught.value) is None


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), ValueError("raised nowhere")])
def test_other_errors_are_bugs(error: Exception) -> None:
    assert user_message(error) is None


def test_a_wrong_argument_keeps_hydras_own_message() -> None:
    with pytest.raises(InstantiationException) as caught:
        instantiate({"_target_": "cvae.problems.problem.Gates", "nope": 1})
    assert user_message(caught.value) is None


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "cannot be used"),
        (errno.EACCES, "cannot be used"),
    ],
)
def test_a_disk_that_cannot_be_written_to_is_the_users(tmp_path: Path, code: int, advice: str) -> None:
    with pytest.raises(DiskError, match=advice) as caught, clear_disk_errors(tmp_path):
        raise OSError(code, "no luck", "/some/file")
    message = user_message(caught.value)
    assert message is not None
    assert message.startswith("/some/file: ")
    assert "no luck" in message
    with pytest.raises(DiskError, match=str(tmp_path)), clear_disk_errors(tmp_path):
        raise OSError(code, "no luck")


def test_other_errors_of_the_system_are_left_as_they_are(tmp_path: Path) -> None:
    error = ConnectionResetError(errno.ECONNRESET, "gone")
    with pytest.raises(ConnectionResetError) as caught, clear_disk_errors(tmp_path):
        raise error
    assert caught.value is error
