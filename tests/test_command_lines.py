"""Commands that can be typed as they are printed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cvae.command_lines import command, shown, word


@pytest.mark.parametrize(
    "path",
    ["outputs/train/2026/best.ckpt", "sweep/loss=mse,seed=1/best.ckpt", 'a folder/it\'s "mine" (1)/[x]', "b\\c"],
)
def test_the_shell_and_hydra_read_a_path_as_it_is(path: str) -> None:
    *_, typed = shlex.split(command("generate", [word("checkpoint", path)]))
    override = OverridesParser.create().parse_override(typed)
    assert override.key_or_group == "checkpoint"
    assert not override.is_sweep_override()
    assert override.value() == path


@pytest.mark.parametrize("name", ["train", "generate", "compare"])
def test_a_command_is_found_from_where_the_user_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parents[1]
    for folder in (root, root / "docs", tmp_path):
        monkeypatch.chdir(folder)
        python, script, *words = shlex.split(command(name, ["seed=1"]))
        assert (python, words) == ("python", ["seed=1"])
        assert Path(script).is_file()
    assert Path(script).is_absolute()


def test_a_path_is_short_below_the_current_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "run" / "x") == "run/x"
    assert shown(tmp_path.parent) == str(tmp_path.parent)
