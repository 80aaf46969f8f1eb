import pytest
import torch

from cvae.runs import checkpoint_files
from cvae.runs.checkpoint_files import resumable
from cvae.runs.continuation import KEY


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({KEY: {}, "epoch": 1, "global_step": 3, "optimizer_states": [], "lr_schedulers": [], "loops": {}}, path)
    return path


def test_a_whole_checkpoint_can_be_gone_on_from(whole, tmp_path):
    assert resumable(whole) == whole
    assert checkpoint_files.step_of(whole) == 3
    assert resumable(tmp_path / "none.ckpt") is None


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_one_is_said(whole, caplog, content):
    whole.write_bytes(whole.read_bytes()[:200] if content is None else content)
    assert resumable(whole) is None
    assert "the run starts anew" in caplog.text


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error"), MemoryError()]
)
def test_one_that_cannot_be_read_now_is_not_taken_for_damaged(whole, monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error)):
        resumable(whole)
