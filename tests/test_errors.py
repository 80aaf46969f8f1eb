"""Which errors are the user's."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf.errors import MissingMandatoryValue

from cvae.errors import DiskError, MissingFileError, UserError, clear_disk_errors, clear_errors, user_message
from cvae.runs.ranks import tasks_of_srun


def test_a_mistake_that_is_told_on_purpose_is_the_users() -> None:
    error = UserError("data.gates.rmse is 0.0; it must be positive.")
    assert isinstance(error, ValueError)
    assert user_message(error) == "data.gates.rmse is 0.0; it must be positive."


def test_what_a_file_puts_into_a_message_does_not_steer_the_terminal() -> None:
    for kind in (UserError, MissingFileError):
        assert str(kind("a\x1b[31m\tb\nc\x07\u202e\udc80é")) == "a\\x1b[31m\tb\nc\\x07\\u202e\\udc80é"
    assert len(str(UserError("x" * 10**6))) < 5000


def test_a_missing_file_is_the_users(tmp_path: Path) -> None:
    error = MissingFileError(f"{tmp_path}: no such file.")
    assert isinstance(error, FileNotFoundError)
    assert user_message(error) == f"{tmp_path}: no such file."
    assert user_message(FileNotFoundError("none")) is None


def test_the_message_is_found_under_what_hydra_wraps_around_it() -> None:
    with pytest.raises(InstantiationException) as caught:
        instantiate({"inner": {"_target_": "cvae.show.CollapseWarning", "least_kl": 0}})
    assert str(user_message(caught.value)).startswith("callbacks.collapse has least_kl=0, ")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "this asks for more memory than is left."),
        (MemoryError("Unable to allocate 8.00 TiB for an array"), "this asks for 8.00 TiB, more memory than is left."),
        (
            RuntimeError("DefaultCPUAllocator: you tried to allocate 2000000000 bytes. Error"),
            "this asks for 2 GB, more",
        ),
        (
            RuntimeError("DefaultCPUAllocator: you tried to allocate 3200000000000001 bytes"),
            "this asks for 3,200,000 GB",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "this asks for more memory than is left. Make it smaller: "),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0"), "this asks for 20.00 MiB, more"),
        (
            RuntimeError("Storage size calculation overflowed with sizes=[9]"),
            "this asks for more memory than is left.",
        ),
    ],
)
def test_too_little_memory_is_told_with_what_was_asked_for(error: Exception, told: str) -> None:
    assert (user_message(error) or "").startswith(told)


@pytest.mark.parametrize(
    "error",
    [
        UserError("x.csv: line 1 holds 'out of memory', which is not a number."),
        DiskError("out of memory: cannot be used"),
    ],
)
def test_what_a_message_quotes_changes_nothing_of_it(error: Exception) -> None:
    assert user_message(error) == str(error)


@pytest.mark.parametrize("error", [ValueError("out of memory"), KeyError("DefaultCPUAllocator"), OSError("out of")])
def test_words_about_memory_in_another_error_are_a_bug(error: Exception) -> None:
    assert user_message(error) is None


def test_a_configuration_that_lightning_refuses_is_the_users() -> None:
    with pytest.raises(MisconfigurationException) as caught:
        Trainer(max_epochs=-2)
    assert "max_epochs" in str(user_message(caught.value))


def test_an_error_of_python_inside_the_package_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "x")
    with pytest.raises(ValueError, match="invalid literal") as caught:
        tasks_of_srun()
    assert user_message(caught.value) is None
    with pytest.raises(ValueError, match="shorter") as caught:
        list(zip([1], [], strict=True))
    assert user_message(caught.value) is None


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), ValueError("x"), ChildProcessError("x")])
def test_other_errors_are_bugs(error: Exception) -> None:
    assert user_message(error) is None


def test_a_command_ends_with_the_message_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (UserError("draws is 0."), FileExistsError("out is a file."), MissingMandatoryValue("data")):
        with pytest.raises(SystemExit) as caught, clear_errors():
            raise error
        assert caught.value.code == 1
        assert capsys.readouterr().err == f"error: {error}\n"
    with pytest.raises(ValueError, match="bug"), clear_errors():
        raise ValueError("bug")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError), clear_errors():
        raise UserError("draws is 0.")


def test_a_wrong_argument_keeps_hydras_own_message() -> None:
    with pytest.raises(InstantiationException) as caught:
        instantiate({"_target_": "cvae.show.CollapseWarning", "nope": 1})
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
